"""Polygons -> masks, pixel for pixel as ReasonSeg's readers fill them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wise_client.eval.samples import Size
from wise_client.masks import BoolMask

Column = npt.NDArray[np.int64]


def fill_polygon(corners: Sequence[Sequence[float]], size: Size) -> BoolMask:
    """bool [height, width] of one polygon with (x, y) corners in pixels.

    The public readers use OpenCV's `polylines` and `fillPoly`: corners are cut to integers and
    stand for pixel centres, the inside goes by the even-odd rule, the outline belongs to it. This
    gives the same pixels (but for outlines that leave the image) without needing OpenCV.
    """
    width, height = size
    points = np.trunc(np.asarray(corners, dtype=np.float64)).astype(np.int64).tolist()
    mask = np.zeros((height, width), dtype=bool)
    toggles = np.zeros((height, width + 1), dtype=bool)
    for start, end in zip(points, points[1:] + points[:1], strict=True):
        x, y = _line(start, end)
        shown = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        mask[y[shown], x[shown]] = True
        _toggle(toggles, start, end)
    mask |= np.logical_xor.accumulate(toggles, axis=1)[:, :width]
    return mask


def _line(start: list[int], end: list[int]) -> tuple[Column, Column]:
    """x and y of Bresenham's line, walked from the left; a tie stays on the start's side."""
    (x0, y0), (x1, y1) = sorted((start, end), key=lambda point: point[0])
    across, down = x1 - x0, abs(y1 - y0)
    steps, minor = max(across, down), min(across, down)
    step = np.arange(steps + 1)
    aside = -((steps - 2 * minor * step) // (2 * steps)) if steps else step
    right, sideways = (step, aside) if across >= down else (aside, step)
    return x0 + right, y0 + (sideways if y1 >= y0 else -sideways)


def _toggle(toggles: npt.NDArray[np.bool_], start: list[int], end: list[int]) -> None:
    """Per row that the edge crosses, flip the first pixel whose centre is not left of it."""
    (x0, y0), (x1, y1) = start, end
    if y0 == y1:
        return
    rows = np.arange(max(min(y0, y1), 0), min(max(y0, y1), toggles.shape[0]))
    columns = x0 - (-(rows - y0) * (x1 - x0)) // (y1 - y0)  # rounded up, exactly
    toggles[rows, np.clip(columns, 0, toggles.shape[1] - 1)] ^= True
