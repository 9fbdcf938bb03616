"""Low-resolution mask logits -> COCO run lengths at the images' sizes, on the logits' device.

What `interpolate(logits, size, mode="bilinear") > threshold` and COCO's encoder would give together
without a full-size mask ever leaving the device: only the ends of its runs are copied back, for all
masks of a batch at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

THRESHOLD = 0.0  # logit, as SAM 2's predictor has it
AT_ONCE_PIXELS = 2**25  # of masks at full size, a byte each, before their runs are copied back

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Window:
    """The part of a full-size mask that may be foreground: rows and columns, pixels, as slices."""

    size: Size
    rows: tuple[int, int]
    columns: tuple[int, int]

    @property
    def places(self) -> int:
        """Where a run may begin or end: before each pixel, and behind the last of a column."""
        return (self.columns[1] - self.columns[0]) * self.stride

    @property
    def stride(self) -> int:
        """Places of one column."""
        return self.rows[1] - self.rows[0] + 1


def mask_runs(logits: Tensor, sizes: Sequence[Size]) -> list[NDArray[np.int64]]:
    """N x h x w float32 logits, each upsampled to its size (height, width; pixels) and cut at 0.

    Gives the lengths of the runs down the columns, of background first (0 if the first pixel is of
    the mask): COCO's uncompressed RLE (github.com/cocodataset/cocoapi, `maskApi.c`). The host waits
    for the device once for the masks' windows, and once for the runs of AT_ONCE_PIXELS.
    """
    windows = [
        _window(bounds, (logits.shape[1], logits.shape[2]), size)
        for bounds, size in zip(_bounds(logits).tolist(), sizes, strict=True)
    ]
    runs: list[NDArray[np.int64]] = []
    for part in _parts(windows):
        runs += _part_runs(logits[len(runs) : len(runs) + len(part)], part)
    return runs


def _bounds(logits: Tensor) -> Tensor:
    """N x 4: first and last row, first and last column of the foreground; last < 0 for none."""
    foreground = logits > THRESHOLD
    ends = []
    for reduced in (2, 1):
        seen = foreground.any(reduced)
        places = torch.arange(seen.shape[1], device=logits.device)
        ends += [torch.where(seen, places, len(places)).amin(1)]
        ends += [torch.where(seen, places, -1).amax(1)]
    return torch.stack(ends, dim=1)


def _window(bounds: list[int], source: Size, size: Size) -> _Window:
    first_row, last_row, first_column, last_column = bounds
    if last_row < 0:
        return _Window(size, (0, 0), (0, 0))
    # Between values that are not positive bilinear interpolation stays so: the rest is background.
    rows = _reached(first_row, last_row, source[0], size[0])
    return _Window(size, rows, _reached(first_column, last_column, source[1], size[1]))


def _reached(first: int, last: int, source: int, target: int) -> tuple[int, int]:
    """The target pixels that the source cells `first` to `last` may reach, as a slice."""
    scale = target / source
    start, stop = (first - 0.5) * scale - 0.5, (last + 1.5) * scale - 0.5
    return max(0, math.floor(start)), min(target, math.ceil(stop) + 1)


def _parts(windows: Sequence[_Window]) -> list[list[_Window]]:
    """The windows in order, in as few parts as AT_ONCE_PIXELS allows."""
    parts: list[list[_Window]] = []
    left = 0
    for window in windows:
        if not parts or window.places > left:
            parts.append([])
            left = AT_ONCE_PIXELS
        parts[-1].append(window)
        left -= window.places
    return parts


def _part_runs(logits: Tensor, windows: Sequence[_Window]) -> list[NDArray[np.int64]]:
    ends = np.cumsum([window.places for window in windows])
    changed = torch.empty(int(ends[-1]), dtype=torch.bool, device=logits.device)
    for one, window, end in zip(logits, windows, ends.tolist(), strict=True):
        if window.places:
            _write_changes(one, window, changed[end - window.places : end])
    places = changed.nonzero()[:, 0].cpu().numpy()
    groups = np.split(places, np.searchsorted(places, ends[:-1]))
    begins = ends - [window.places for window in windows]
    return [_runs(g - b, w) for g, b, w in zip(groups, begins, windows, strict=True)]


@lru_cache(maxsize=8)  # of 4 MiB each for a photograph under the public models: few
def _weights(source: int, target: int, device: torch.device) -> Tensor:
    """source x target: how much of each source cell is in each target pixel, as torch has it."""
    cells = torch.eye(source, device=device)
    return functional.interpolate(cells[None], target, mode="linear", align_corners=False)[0]


def _write_changes(logits: Tensor, window: _Window, changed: Tensor) -> None:
    """Mark where a run begins or ends, column by column; one that reaches the last row ends behind
    it. changed: `window.places` bool."""
    (height, width), (source_height, source_width) = window.size, logits.shape
    down = _weights(source_height, height, logits.device)[:, slice(*window.rows)]
    across = _weights(source_width, width, logits.device)[:, slice(*window.columns)]
    mask = functional.pad(across.T @ logits.T @ down > THRESHOLD, (1, 1))  # columns x rows
    torch.ne(mask[:, 1:], mask[:, :-1], out=changed.view(-1, window.stride))


def _runs(changes: NDArray[np.int64], window: _Window) -> NDArray[np.int64]:
    """Places of change in a window of the mask -> run lengths of the whole mask."""
    height, width = window.size
    columns, rows = np.divmod(changes, window.stride)
    places = (columns + window.columns[0]) * height + rows + window.rows[0]
    # A run that goes on from the end of a column into the next one ends and begins at one place.
    joined = np.flatnonzero(places[1:] == places[:-1])
    places = np.delete(places, np.concatenate([joined, joined + 1]))
    if len(places) and places[-1] == height * width:
        places = places[:-1]
    return np.diff(places, prepend=0, append=height * width)
