"""Masks -> results of Label Studio, and an annotator's clicks -> prompts of `POST /refine`.

Label Studio's coordinates are percent of the image as displayed; ours are its pixels.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wise_client import masks
from wise_client.errors import InputError
from wise_client.integrations.label_studio.labelling import Control
from wise_client.masks import BoolMask
from wise_client.parts import Box
from wise_client.polygons import Ring, simplified, without_holes

# Label Studio packs a mask by rle-pack of thi.ng/umbrella: runs of at most 2**3, 2**4, 2**8 and
# 2**16 bytes. https://github.com/thi-ng/umbrella/blob/develop/packages/rle-pack/src/index.ts
_RUN_BITS = (3, 4, 8, 16)
_WORD_BITS = 8
_CHANNELS = 4  # of the canvas that Label Studio paints on: red, green, blue, alpha


@dataclass(frozen=True)
class Clicks:
    """One object as an annotator points at it; pixels. `points`: x, y, and 1 for what belongs
    to the object, 0 for what does not."""

    label: str
    box: Box | None
    points: tuple[tuple[float, float, int], ...]


def brush_rle(mask: BoolMask) -> list[int]:
    """bool [height, width] -> Label Studio's brush RLE, a list of bytes."""
    flat = mask.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(edges, prepend=0, append=flat.size) * _CHANNELS
    value = bool(flat[0])
    bits = [f"{flat.size * _CHANNELS:032b}{_WORD_BITS - 1:05b}"]
    bits += [f"{size - 1:04b}" for size in _RUN_BITS]
    for length in lengths.tolist():
        bits += _run(length, 255 if value else 0)
        value = not value
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def _run(length: int, value: int) -> list[str]:
    """`length` bytes of `value`: a bit for "run", the index of its size, its length, the value."""
    longest = 1 << _RUN_BITS[-1]
    whole, rest = divmod(length, longest)
    pieces = [longest] * whole + [rest] * bool(rest)
    bits = []
    for piece in pieces:
        index = next(i for i, size in enumerate(_RUN_BITS) if piece <= 1 << size)
        bits.append(f"1{index:02b}{piece - 1:0{_RUN_BITS[index]}b}{value:0{_WORD_BITS}b}")
    return bits


def results(
    control: Control, label: str, mask: BoolMask, score: float, tolerance_pixels: float, note: str
) -> list[dict[str, Any]]:
    """One object as regions of `control`; a polygon for each part. `note`: shown beside it."""
    height, width = mask.shape
    common = {
        "from_name": control.name,
        "to_name": control.image,
        "type": control.kind,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": score,
    }
    if note:
        common["meta"] = {"text": [note]}
    return [
        {"id": uuid.uuid4().hex[:10], **common, "value": {**value, control.kind: [label]}}
        for value in _values(control.kind, mask, tolerance_pixels)
    ]


def _values(kind: str, mask: BoolMask, tolerance_pixels: float) -> list[dict[str, Any]]:
    if not mask.any():
        return []
    if kind == "brushlabels":
        return [{"format": "rle", "rle": brush_rle(mask)}]
    height, width = mask.shape
    if kind == "rectanglelabels":
        x, y, wide, high = masks.tight_box(mask)
        return [
            {
                "x": 100 * x / width,
                "y": 100 * y / height,
                "width": 100 * wide / width,
                "height": 100 * high / height,
                "rotation": 0,
            }
        ]
    rings = [simplified(ring, tolerance_pixels) for ring in without_holes(mask)]
    return [{"points": _percent(ring, width, height), "closed": True} for ring in rings]


def _percent(ring: Ring, width: int, height: int) -> list[list[float]]:
    return [[100 * x / width, 100 * y / height] for x, y in ring.tolist()]


def clicks(drawn: Sequence[Mapping[str, Any]]) -> Clicks | None:
    """What the smart tools drew, of one label; None if there is no point and no box among it.

    Raises InputError when a region is not as Label Studio sends it.
    """
    label, box, points = "", None, []
    try:
        for region in drawn:
            value, kind = region["value"], region["type"]
            if kind not in ("keypointlabels", "rectanglelabels", "keypoint", "rectangle"):
                continue
            right, down = region["original_width"] / 100, region["original_height"] / 100
            x, y = value["x"] * right, value["y"] * down
            label = (value.get(kind) or value.get("labels") or [label])[0]
            if kind.startswith("keypoint"):
                points.append((x, y, int(bool(region.get("is_positive", True)))))
            else:
                box = (x, y, x + value["width"] * right, y + value["height"] * down)
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(f"A drawn region is not as Label Studio has it: {error!r}") from error
    return Clicks(label, box, tuple(points)) if box or points else None
