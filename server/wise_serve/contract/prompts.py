"""A prompt and a mask: one type each, from the answer's reader to the device and back.

They are msgspec structs, so the same objects are what travels to the segmenter worker and back.
"""

import msgspec

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 with x1 < x2 and y1 < y2; pixels of the image as displayed, origin top left."""

Point = tuple[float, float]
"""x, y; in the same frame."""


class Prompt(msgspec.Struct, frozen=True):
    """What to segment: one box and its points, all of them foreground (SAM 2's label 1)."""

    box: Box
    points: tuple[Point, ...] = ()


class Mask(msgspec.Struct, frozen=True):
    """One mask as COCO compressed RLE (github.com/cocodataset/cocoapi, `maskApi.c`).

    size: height, width, pixels. counts: ASCII. score: the IoU that SAM 2 predicts for it, 0 to 1.
    area: pixels of the object.
    """

    size: tuple[int, int]
    counts: str
    score: float
    area: int
