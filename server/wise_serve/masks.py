"""COCO compressed RLE to the contract's other mask formats."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco


def _decode(size: tuple[int, int], counts: str) -> NDArray[np.uint8]:
    decoded: NDArray[np.uint8] = coco.decode({"size": list(size), "counts": counts.encode("ascii")})
    return decoded


def to_png(size: tuple[int, int], counts: str) -> str:
    """A PNG of one bit a pixel, base64. `size` is height, width."""
    out = io.BytesIO()
    Image.fromarray(_decode(size, counts) * np.uint8(255)).convert("1").save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode("ascii")


def to_polygons(size: tuple[int, int], counts: str) -> list[list[tuple[float, float]]]:
    """The bounding rectangle of the mask, as one polygon; replaced when outlines are traced."""
    rows, columns = np.nonzero(_decode(size, counts))
    if rows.size == 0:
        return []
    left, right = float(columns.min()), float(columns.max()) + 1
    top, bottom = float(rows.min()), float(rows.max()) + 1
    return [[(left, top), (right, top), (right, bottom), (left, bottom)]]
