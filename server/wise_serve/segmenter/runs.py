"""Low-resolution mask logits -> COCO run lengths at the image's size, on the logits' device.

What `interpolate(logits, size, mode="bilinear") > threshold` and COCO's encoder would give together
without the full-size mask ever leaving the device: only the ends of its runs are copied back.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

THRESHOLD = 0.0  # logit, as SAM 2's predictor has it

Span = tuple[int, int]


def mask_runs(logits: Tensor, size: tuple[int, int]) -> NDArray[np.int64]:
    """h x w float32 logits, upsampled to `size` (height, width; pixels) and cut at 0.

    Gives the lengths of the runs down the columns, of background first (0 if the first pixel is of
    the mask): COCO's uncompressed RLE (github.com/cocodataset/cocoapi, `maskApi.c`).
    """
    height, width = size
    foreground = (logits > THRESHOLD).nonzero()
    if not len(foreground):
        return np.array([height * width], np.int64)
    first, last = foreground.amin(0).tolist(), foreground.amax(0).tolist()
    # Between values that are not positive bilinear interpolation stays so: the rest is background.
    rows = _reached(first[0], last[0], logits.shape[0], height)
    columns = _reached(first[1], last[1], logits.shape[1], width)
    down = _weights(logits.shape[0], height, logits.device)[:, slice(*rows)]
    across = _weights(logits.shape[1], width, logits.device)[:, slice(*columns)]
    mask = across.T @ logits.T @ down > THRESHOLD  # columns x rows
    return _runs(_changes(mask).cpu().numpy(), rows[0], columns[0], height, width)


def _reached(first: int, last: int, source: int, target: int) -> Span:
    """The target pixels that the source cells `first` to `last` may reach, as a slice."""
    scale = target / source
    start, stop = (first - 0.5) * scale - 0.5, (last + 1.5) * scale - 0.5
    return max(0, math.floor(start)), min(target, math.ceil(stop) + 1)


@lru_cache(maxsize=8)  # of 4 MiB each for a photograph under the public models: few
def _weights(source: int, target: int, device: torch.device) -> Tensor:
    """source x target: how much of each source cell is in each target pixel, as torch has it."""
    cells = torch.eye(source, device=device)
    return functional.interpolate(cells[None], target, mode="linear", align_corners=False)[0]


def _changes(mask: Tensor) -> Tensor:
    """columns x rows bool -> N x 2 (column, row): where a run begins or ends, in order. A run that
    reaches the last row ends behind it."""
    padded = functional.pad(mask, (1, 1))
    return (padded[:, 1:] != padded[:, :-1]).nonzero()


def _runs(
    changes: NDArray[np.int64], first_row: int, first_column: int, height: int, width: int
) -> NDArray[np.int64]:
    """Places of change in a window of the mask -> run lengths of the whole mask."""
    places = (changes[:, 0] + first_column) * height + changes[:, 1] + first_row
    # A run that goes on from the end of a column into the next one ends and begins at one place.
    joined = np.flatnonzero(places[1:] == places[:-1])
    places = np.delete(places, np.concatenate([joined, joined + 1]))
    if len(places) and places[-1] == height * width:
        places = places[:-1]
    return np.diff(places, prepend=0, append=height * width)
