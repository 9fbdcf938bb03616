"""LabelMe's shapes -> masks, each by its own meaning.

| `shape_type`                    | covers                                                         |
|---------------------------------|----------------------------------------------------------------|
| polygon (also where none is     | inside and outline of `points`                                 |
| given), oriented_rectangle      |                                                                |
| rectangle                       | between two opposite corners                                   |
| circle                          | around the first point, through the second                     |
| mask                            | where the base64 PNG `mask` is not 0; its upper left corner is |
|                                 | the first point                                                |
| line, linestrip, point, points  | no area: refused                                               |
"""

import base64
import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from wise_client import extras
from wise_client.errors import InputError
from wise_client.eval.samples import Size, mask_of
from wise_client.masks import BoolMask, flat_ring

Points = list[tuple[float, float]]


def fill_polygon(corners: Points, size: Size) -> BoolMask:
    """bool [height, width] of one polygon with (x, y) corners in pixels.

    As the public readers of ReasonSeg do it: corners are cut to integers and stand for pixel
    centres, the inside goes by the even-odd rule, the outline belongs to it. Raises InputError
    where OpenCV is not installed.
    """
    cv2 = extras.opencv()
    filled = np.zeros((size[1], size[0]), dtype=np.uint8)
    points = np.array([corners], dtype=np.float64).astype(np.int32)
    cv2.polylines(filled, points, True, 1, 1)
    cv2.fillPoly(filled, points, 1)
    return np.asarray(filled, dtype=bool)


def draw(shape: Mapping[str, Any], size: Size) -> BoolMask | None:
    """bool [height, width] of one shape, at the displayed image's (width, height) `size`.

    None for a polygon of fewer than three corners, which encloses nothing. Raises InputError for
    a shape that has no area by its type, is of an unknown type, or cannot be read.
    """
    kind = shape.get("shape_type") or "polygon"
    try:
        points = _points(shape["points"])
        if kind in ("polygon", "oriented_rectangle"):
            return fill_polygon(points, size) if len(points) >= 3 else None
        if kind == "rectangle":
            return fill_polygon(_corners(points), size)
        if kind == "circle":
            return _circle(points, size)
        if kind == "mask":
            return _placed(points, str(shape["mask"]), size)
    except InputError as error:
        raise InputError(f"a {kind} that cannot be read: {error.detail}") from error
    except Exception as error:  # Pillow's decoders raise nearly any type on a damaged mask
        raise InputError(
            f"a {kind} that cannot be read: {type(error).__name__}: {error}"
        ) from error
    raise InputError(f"shape_type {kind!r}, which covers no area; draw a polygon, or a mask")


def _points(points: Any) -> Points:
    """Raises ValueError or TypeError for what are no (x, y) pairs of finite numbers."""
    pairs = [(float(x), float(y)) for x, y in points]
    flat_ring(pairs)
    return pairs


def _corners(points: Points) -> Points:
    if len(points) == 4:
        return points
    (x1, y1), (x2, y2) = points
    return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]


def _circle(points: Points, size: Size) -> BoolMask:
    centre, rim = points
    rows, columns = np.ogrid[: size[1], : size[0]]
    radius = math.dist(centre, rim)
    return np.asarray(np.hypot(columns - centre[0], rows - centre[1]) <= radius, dtype=bool)


def _placed(points: Points, png: str, size: Size) -> BoolMask:
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        part = mask_of(picture)
    left, top = (math.floor(value) for value in points[0])
    height, width = part.shape
    if left < 0 or top < 0 or left + width > size[0] or top + height > size[1]:
        raise ValueError(f"it is {width} x {height} pixels at {left}, {top}, outside of the image")
    mask = np.zeros((size[1], size[0]), dtype=bool)
    mask[top : top + height, left : left + width] = part
    return mask
