"""A prompt and a mask: one type each, from the answer's reader to the device and back.

They are msgspec structs, so the same objects are what travels to the segmenter worker and back.
"""

from typing import Final

import msgspec

from wise_serve.contract.names import MaskChoice

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 with x1 < x2 and y1 < y2; pixels of the image as displayed, origin top left."""

Point = tuple[float, float]
"""x, y; in the same frame."""

FOREGROUND: Final = 1
BACKGROUND: Final = 0
COARSE_SIDE: Final = 256  # what SAM 2's prompt encoder reads of an image of 1024 x 1024


class Prompt(msgspec.Struct, frozen=True):
    """What to segment: a box, points, an earlier mask, or several of them; at least one.

    labels: FOREGROUND or BACKGROUND for each point, as SAM 2 has them; without them all points are
    foreground. mask: an earlier mask, coarse: COARSE_SIDE x COARSE_SIDE uint8, row by row, over the
    whole image stretched to a square: how much of each cell is the object, 0 to 255. choice: which
    of SAM 2's masks is wanted.
    """

    box: Box | None = None
    points: tuple[Point, ...] = ()
    labels: tuple[int, ...] = ()
    mask: bytes | None = None
    choice: MaskChoice = "best"


class Mask(msgspec.Struct, frozen=True):
    """One mask as COCO compressed RLE (github.com/cocodataset/cocoapi, `maskApi.c`).

    size: height, width, pixels. counts: ASCII. score: the IoU that SAM 2 predicts for it, 0 to 1.
    area: pixels of the object. alternatives: the other masks of a prompt whose choice is "all", by
    descending score.
    """

    size: tuple[int, int]
    counts: str
    score: float
    area: int
    alternatives: tuple["Mask", ...] = ()
