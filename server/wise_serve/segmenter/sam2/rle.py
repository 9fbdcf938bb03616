"""Low-resolution mask logits -> COCO run lengths at the images' sizes, on the logits' device.

The result is the same as of `interpolate(logits, size, mode="bilinear") > threshold` and COCO's
encoder. But no full-size mask is copied from the device: only the ends of its runs are, for all
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

THRESHOLD = 0.0  # logit; the same as in SAM 2's predictor
AT_ONCE_PIXELS = 2**25  # most full-size pixels (1 byte each) on the device at the same time
KEPT_WEIGHTS_BYTES = 2**25  # larger weights, of very long images, are computed for each mask

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Window:
    """The part of a full-size mask that may be foreground: its rows and columns, as slices."""

    size: Size
    rows: tuple[int, int]
    columns: tuple[int, int]

    @property
    def places(self) -> int:
        """How many places a run may begin or end at: before each pixel, and after each column."""
        return (self.columns[1] - self.columns[0]) * self.stride

    @property
    def stride(self) -> int:
        """How many such places one column has."""
        return self.rows[1] - self.rows[0] + 1


def mask_runs(logits: Tensor, sizes: Sequence[Size]) -> list[NDArray[np.int64]]:
    """The runs of N masks, from N x h x w float32 logits.

    sizes: the height and width to which each mask is upsampled, pixels. Returns COCO's uncompressed
    RLE (github.com/cocodataset/cocoapi, `maskApi.c`): the lengths of the runs down the columns,
    background first (0 if the first pixel is foreground). The host waits for the device once for
    the windows of all masks, and once for the runs of each AT_ONCE_PIXELS.
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
    """N x 4: first row, last row, first column, last column of the foreground; last < 0: none."""
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
    # Interpolating between values <= 0 gives values <= 0: the rest is background.
    rows = _reached(first_row, last_row, source[0], size[0])
    return _Window(size, rows, _reached(first_column, last_column, source[1], size[1]))


def _reached(first: int, last: int, source: int, target: int) -> tuple[int, int]:
    """The target pixels to which the source cells `first` to `last` may contribute, as a slice."""
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


def _weights(source: int, target: int, device: torch.device) -> Tensor:
    """source x target: the weight of each source cell in each target pixel, the same as torch's."""
    kept = source * target * torch.float32.itemsize <= KEPT_WEIGHTS_BYTES
    return (_kept_weights if kept else _new_weights)(source, target, device)


def _new_weights(source: int, target: int, device: torch.device) -> Tensor:
    cells = torch.eye(source, device=device)
    return functional.interpolate(cells[None], target, mode="linear", align_corners=False)[0]


_kept_weights = lru_cache(maxsize=8)(_new_weights)  # few: 4 MiB each for a photograph


def _write_changes(logits: Tensor, window: _Window, changed: Tensor) -> None:
    """Mark where a run begins or ends, column by column; one that reaches the last row ends behind
    it. changed: `window.places` bool."""
    (height, width), (source_height, source_width) = window.size, logits.shape
    down = _weights(source_height, height, logits.device)[:, slice(*window.rows)]
    across = _weights(source_width, width, logits.device)[:, slice(*window.columns)]
    mask = functional.pad(across.T @ logits.T @ down > THRESHOLD, (1, 1))  # columns x rows
    torch.ne(mask[:, 1:], mask[:, :-1], out=changed.view(-1, window.stride))


def _runs(changes: NDArray[np.int64], window: _Window) -> NDArray[np.int64]:
    """The places in a window where the mask changes -> run lengths of the whole mask."""
    height, width = window.size
    columns, rows = np.divmod(changes, window.stride)
    places = (columns + window.columns[0]) * height + rows + window.rows[0]
    # A run that continues into the next column ends and begins at the same place.
    joined = np.flatnonzero(places[1:] == places[:-1])
    places = np.delete(places, np.concatenate([joined, joined + 1]))
    if len(places) and places[-1] == height * width:
        places = places[:-1]
    return np.diff(places, prepend=0, append=height * width)
