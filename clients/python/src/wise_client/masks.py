"""The three mask formats of the contract -> numpy, and numpy -> COCO RLE.

| format  | `mask` in the answer                                                         |
|---------|------------------------------------------------------------------------------|
| rle     | `{"size": [h, w], "counts": "..."}`, COCO's compressed RLE                   |
| png     | `{"size": [h, w], "png": "<base64>"}`, one bit a pixel; also the bare string |
| polygon | `{"size": [h, w], "polygons": [[[x, y], ...], ...]}`, rings filled by the    |
|         | even-odd rule, so that a ring in a ring is a hole; also COCO's flat rings    |
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict

import numpy as np
import numpy.typing as npt
from PIL import Image
from pycocotools import mask as coco

from wise_client.errors import UnexpectedAnswerError

BoolMask = npt.NDArray[np.bool_]
# pycocotools walks a polygon's whole outline, wherever it lies; no image is nearly that wide.
MOST_COORDINATE_PIXELS: Final = 1_000_000


class Rle(TypedDict):
    """COCO compressed RLE: `size` is [height, width], `counts` ASCII."""

    size: list[int]
    counts: str


def decode(payload: object, size: tuple[int, int]) -> BoolMask:
    """One mask of an answer -> bool [height, width]; `size` is (width, height) of the image sent.

    Raises UnexpectedAnswerError when the mask is of no known format or of another size.
    """
    try:
        mask = _decoded(payload, size)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise UnexpectedAnswerError(f"The answer's mask cannot be decoded: {error}") from error
    if mask.shape != (size[1], size[0]):
        raise UnexpectedAnswerError(
            f"The answer's mask is {mask.shape[1]} x {mask.shape[0]}, its image "
            f"{size[0]} x {size[1]} pixels"
        )
    return mask


def encode(mask: BoolMask) -> Rle:
    """bool [height, width] -> COCO compressed RLE."""
    rle = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def resize(mask: BoolMask, size: tuple[int, int]) -> BoolMask:
    """The mask at (width, height) `size`: bilinear, then at least half, so that edges stay put."""
    if mask.shape == (size[1], size[0]):
        return mask
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(grey.resize(size, Image.Resampling.BILINEAR)) >= 128


def tight_box(mask: BoolMask) -> tuple[int, int, int, int]:
    """COCO's (x, y, width, height) around the mask; zeros for an empty one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return 0, 0, 0, 0
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y


def from_rle(rle: Mapping[str, Any], size: tuple[int, int]) -> BoolMask:
    """COCO's RLE, compressed or a list of run lengths -> bool [height, width].

    `size` is the image's (width, height). Raises ValueError, TypeError or KeyError when it is no
    RLE, is of another size, or its runs do not add up to the image.
    """
    _same_size(rle["size"], size)
    width, height = size
    counts = rle["counts"]
    if isinstance(counts, str | bytes):
        packed = counts.encode("ascii") if isinstance(counts, str) else counts
        runs = _runs(packed)
    else:
        runs = [int(run) for run in counts]
        if runs != list(counts) or min(runs, default=0) < 0:
            raise ValueError("a run length is not a whole number of pixels")
        packed = None
    if sum(runs) != height * width:
        # pycocotools leaves the pixels after the last run as they were in memory.
        raise ValueError(f"its runs are {sum(runs)} pixels, the image has {height * width}")
    if packed is None:
        packed = coco.frPyObjects({"size": [height, width], "counts": runs}, height, width)[
            "counts"
        ]
    return np.asarray(coco.decode({"size": [height, width], "counts": packed}), dtype=bool)


def flat_ring(ring: object) -> list[float] | None:
    """A polygon's [x1, y1, x2, y2, ...] or [[x1, y1], ...] -> the former, in pixels.

    None for a polygon of fewer than three corners, which encloses nothing. Raises ValueError or
    TypeError for what is no list of finite coordinates near an image.
    """
    values = np.asarray(ring, dtype=np.float64).ravel()
    if values.size % 2:
        raise ValueError(f"a polygon has {values.size} numbers, which are no pairs of x and y")
    if not np.isfinite(values).all():
        raise ValueError("a polygon has a coordinate that is not a finite number")
    if np.abs(values).max(initial=0) > MOST_COORDINATE_PIXELS:
        raise ValueError("a polygon has a coordinate far outside of any image")
    return values.tolist() if values.size >= 6 else None


def _decoded(payload: object, size: tuple[int, int]) -> BoolMask:
    if isinstance(payload, Mapping):
        if "counts" in payload:
            return from_rle(payload, size)
        if "png" in payload:
            return _of_png(payload["png"])
        if "size" in payload:
            _same_size(payload["size"], size)
        return _of_polygons(payload["polygons"], size)
    if isinstance(payload, str):
        return _of_png(payload)
    if isinstance(payload, Sequence):
        return _of_polygons(payload, size)
    raise ValueError("it is none of RLE, PNG and polygons")


def _same_size(stated: Sequence[Any], size: tuple[int, int]) -> None:
    """`stated` is a mask's [height, width]; checked before pycocotools allocates that much."""
    height, width = stated
    if (width, height) != size:
        raise ValueError(f"it is {width} x {height}, its image {size[0]} x {size[1]} pixels")


def _runs(counts: bytes) -> list[int]:
    """Run lengths of COCO's compressed RLE: five bits a character, lowest first, bit 5 for "more",
    signed; from the fourth on, each is the difference to the last but one (cocoapi, maskApi.c)."""
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = character - 48
        if not 0 <= bits < 64:
            raise ValueError("it holds a character that compressed RLE does not use")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift or min(runs, default=0) < 0:
        raise ValueError("its runs are cut off or negative")
    return runs


def _of_png(text: str) -> BoolMask:
    with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as picture:
        return np.asarray(picture.convert("L")) > 0


def _of_polygons(rings: Sequence[Any], size: tuple[int, int]) -> BoolMask:
    width, height = size
    flat = [ring for ring in map(flat_ring, rings) if ring is not None]
    if not flat:
        return np.zeros((height, width), bool)
    filled = coco.decode(coco.frPyObjects(flat, height, width))
    return np.asarray(np.bitwise_xor.reduce(filled, axis=2), dtype=bool)
