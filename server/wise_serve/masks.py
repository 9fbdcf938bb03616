"""Masks in their three forms: COCO compressed RLE, one-bit PNG, and polygons. Pure functions.

A mask is H x W bool. RLE is COCO's (github.com/cocodataset/cocoapi, `maskApi.c`): run lengths down
the columns, compressed to ASCII; with `size` = (height, width).
"""

import base64
import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

Size = tuple[int, int]  # height, width
Ring = list[tuple[float, float]]


def encode_rle(mask: NDArray[np.bool_]) -> str:
    """H x W bool -> the `counts` of its compressed RLE."""
    columns = np.asfortranarray(mask, dtype=np.uint8)
    counts: bytes = coco.encode(columns)["counts"]
    return counts.decode("ascii")


def decode_rle(size: Size, counts: str) -> NDArray[np.bool_]:
    """Compressed RLE -> H x W bool."""
    decoded = coco.decode({"size": list(size), "counts": counts.encode("ascii")})
    return np.ascontiguousarray(decoded, dtype=np.bool_)


def area(size: Size, counts: str) -> int:
    """Pixels of a compressed RLE's mask, without decoding it."""
    return int(coco.area({"size": list(size), "counts": counts.encode("ascii")}))


def to_png(size: Size, counts: str) -> str:
    """Compressed RLE -> base64 (ASCII) of a one-bit PNG of the mask; white is the object."""
    buffer = io.BytesIO()
    Image.fromarray(decode_rle(size, counts)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def to_polygons(size: Size, counts: str) -> list[Ring]:
    """Compressed RLE -> closed rings [(x, y), ...] in pixels, the last vertex joined to the first.

    Vertices are pixel centres' integer coordinates on the boundary pixels, which belong to the
    object (Suzuki and Abe 1985, as in OpenCV's `findContours`; collinear vertices are left out).
    The object is what the rings cover under the even-odd rule: a ring inside another one is a hole,
    drawn along the background pixels that are its edge. Parts of one or two pixels are rings of one
    or two vertices.
    """
    mask = decode_rle(size, counts).astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return [[(float(x), float(y)) for x, y in contour.reshape(-1, 2)] for contour in contours]
