"""Masks in their three forms: COCO compressed RLE, one-bit PNG, and polygons. Pure functions.

A mask is H x W bool. RLE is COCO's (github.com/cocodataset/cocoapi, `maskApi.c`): the lengths of
runs down the columns, compressed to ASCII. `size` is (height, width).
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

# Compressed RLE: five bits per letter, lowest first; a sixth bit says that more letters follow.
_BITS, _MORE, _SIGN, _LETTERS = 0x1F, 0x20, 0x10, 0x3F
_MOST_LETTERS = 7  # of one number: 35 bits


def compress(size: Size, runs: NDArray[np.int64]) -> str:
    """Run lengths down the columns (background first) -> `counts` of the compressed RLE."""
    uncompressed = {"size": list(size), "counts": runs.tolist()}
    counts: bytes = coco.frPyObjects(uncompressed, *size)["counts"]
    return counts.decode("ascii")


def decode_rle(size: Size, counts: str) -> NDArray[np.bool_]:
    """Compressed RLE -> H x W bool."""
    decoded = coco.decode({"size": list(size), "counts": counts.encode("ascii")})
    return np.ascontiguousarray(decoded, dtype=np.bool_)


def read_runs(size: Size, counts: str) -> NDArray[np.int64]:
    """Compressed RLE that a caller sent -> run lengths down the columns (background first), int64.

    Not pycocotools: it trusts the numbers, and would write beyond the mask's memory. Raises
    ValueError with a text that says what is wrong.
    """
    try:
        letters = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - ord("0")
    except UnicodeEncodeError:
        raise ValueError("contains a character that compressed RLE does not use") from None
    if len(letters) == 0:
        raise ValueError("is empty")
    if letters.min() < 0 or letters.max() > _LETTERS:
        raise ValueError("contains a character that compressed RLE does not use")
    ends = np.flatnonzero(letters & _MORE == 0)
    lengths = np.diff(ends, prepend=-1)
    if letters[-1] & _MORE or lengths.max(initial=0) > _MOST_LETTERS:
        raise ValueError("contains an incomplete number")
    starts = ends - lengths + 1
    places = np.arange(len(letters)) - np.repeat(starts, lengths)
    runs = np.add.reduceat((letters & _BITS) << (5 * places), starts)
    runs -= np.where(letters[ends] & _SIGN, 1 << (5 * lengths), 0)
    for first in (1, 2):  # from the fourth run on, each is stored minus the run two before it
        runs[first::2] = np.cumsum(runs[first::2])
    if runs.min() < 0 or runs.sum() != size[0] * size[1]:
        raise ValueError("does not have as many pixels as the image")
    return runs


def coarse(size: Size, runs: NDArray[np.int64], side: int) -> bytes:
    """Run lengths -> side x side uint8, row by row: the object's share of each cell, 0 to 255.

    The whole image is stretched to a square. Slow for a large mask: call it in a thread.
    """
    height, width = size
    columns = np.repeat((np.arange(len(runs)) % 2 * 255).astype(np.uint8), runs)
    mask = Image.fromarray(columns.reshape(width, height)).transpose(Image.Transpose.TRANSPOSE)
    return mask.resize((side, side), Image.Resampling.BOX).tobytes()


def bounds(size: Size, counts: str) -> tuple[int, int, int, int]:
    """The box around a mask: x1, y1, x2, y2 in pixels; all zero for an empty mask.

    `counts` must come from this server: they are not checked.
    """
    x, y, width, height = coco.toBbox({"size": list(size), "counts": counts.encode("ascii")})
    return int(x), int(y), int(x + width), int(y + height)


def to_png(size: Size, counts: str) -> str:
    """Compressed RLE -> a one-bit PNG in base64 (ASCII); the object is white."""
    buffer = io.BytesIO()
    Image.fromarray(decode_rle(size, counts)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def to_polygons(size: Size, counts: str) -> list[Ring]:
    """Compressed RLE -> closed rings [(x, y), ...] in pixels; the last vertex joins the first.

    Vertices are corners of pixels (a pixel in column 3 spans x = 3..4), so the rings enclose the
    mask's pixels exactly, by the even-odd rule: a ring inside another one is a hole. No ring
    visits a corner twice, since other tools call such a ring invalid.
    """
    mask = decode_rle(size, counts).astype(np.uint8)
    # OpenCV traces the border through pixel centres. In the mask at twice the size, each border
    # pixel stands for one corner of an original pixel: even coordinates for its left or upper side.
    doubled = mask.repeat(2, axis=0).repeat(2, axis=1)
    borders, _ = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return [ring for border in borders for ring in _rings((border.reshape(-1, 2) + 1) // 2)]


def _rings(path: NDArray[np.int32]) -> list[Ring]:
    """A closed path, cut into rings where it visits a corner for the second time."""
    rings: list[Ring] = []
    ring: Ring = []
    places: dict[tuple[float, float], int] = {}
    for corner in _corners(path):
        start = places.get(corner)
        if start is not None:
            rings.append(ring[start:])
            for passed in ring[start:]:
                del places[passed]
            del ring[start:]
        places[corner] = len(ring)
        ring.append(corner)
    return [*rings, ring]


def _corners(path: NDArray[np.int32]) -> Ring:
    """A closed path without repeated vertices and without vertices inside a straight line."""
    path = path[(path != np.roll(path, 1, axis=0)).any(axis=1)]
    before, after = path - np.roll(path, 1, axis=0), np.roll(path, -1, axis=0) - path
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    return [(float(x), float(y)) for x, y in path[turns]]
