"""The image as a strategy's checkpoint sees it, and the frame of the coordinates in its answer."""

import math
from dataclasses import dataclass
from typing import Final

from wise_serve.reasoner.strategies.strategy import AspectImage, Strategy

Size = tuple[int, int]
"""Width, height, pixels."""

_MOST_ASPECT: Final = 200  # the checkpoints' own processor refuses an image beyond this ratio


@dataclass(frozen=True, slots=True)
class View:
    """The image that the reasoner gets. size: width, height in pixels.

    smooth: resized by bicubic interpolation, as the checkpoints' processor does; otherwise by
    bilinear, as WISE and Seg-Zero stretch an image to a square."""

    size: Size
    smooth: bool

    @property
    def name(self) -> str:
        """Part of the image's key in caches: one image may be shown in several ways."""
        return f"{self.size[0]}x{self.size[1]}{'-smooth' if self.smooth else ''}"


def view_of(strategy: Strategy, size: Size, side: int | None = None) -> View:
    """How an image of `size` (width, height; pixels) is shown.

    side: of the checkpoint's square, pixels, if it differs from the strategy's."""
    image = strategy.image
    if isinstance(image, AspectImage):
        return View(_fitted(size, image), True)
    return View((side or image.square_pixels,) * 2, False)


def frame_size(strategy: Strategy, shown: Size) -> tuple[float, float]:
    """The largest x and y of an answer's coordinates."""
    if strategy.coordinates.frame == "normalized":
        return strategy.coordinates.range, strategy.coordinates.range
    return shown


def _fitted(size: Size, image: AspectImage) -> Size:
    """Width and height as Qwen2.5-VL's processor makes them (`smart_resize` in transformers'
    `image_processing_qwen2_vl.py`): multiples of a number, within the least and the most pixels.

    An image too long for that processor is stretched to the longest aspect that it accepts.
    """
    long, short = max(size), min(size)
    short = max(short, math.ceil(long / _MOST_ASPECT))
    multiple = image.multiple_pixels
    sides = [round(one / multiple) * multiple for one in (long, short)]
    if sides[0] * sides[1] > image.most_pixels:
        shrink = math.sqrt(long * short / image.most_pixels)
        sides = [
            max(multiple, math.floor(one / shrink / multiple) * multiple) for one in (long, short)
        ]
    elif sides[0] * sides[1] < image.least_pixels:
        grow = math.sqrt(image.least_pixels / (long * short))
        sides = [math.ceil(one * grow / multiple) * multiple for one in (long, short)]
    sides[0] = min(sides[0], _MOST_ASPECT * sides[1])
    return (sides[0], sides[1]) if size[0] >= size[1] else (sides[1], sides[0])
