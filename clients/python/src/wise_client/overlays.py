"""Masks, boxes and points drawn on an image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from wise_client.masks import BoolMask

# Okabe and Ito's colours, which colour-blind readers can distinguish.
COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)


_WHITE = (255, 255, 255)


@dataclass(frozen=True)
class Shape:
    """What is drawn of one instance: bool [height, width], (x1, y1, x2, y2), and (x, y) points.

    labels: of each point, 1 on the object, drawn filled; 0 off the object, drawn as a ring.
    """

    mask: BoolMask
    box: tuple[float, float, float, float]
    points: Sequence[tuple[float, float]]
    labels: Sequence[int]


def draw(picture: Image.Image, shapes: Sequence[Shape], opacity: float) -> Image.Image:
    """A new RGB image; `opacity` of the masks from 0 to 1. Lines grow with the image."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32).copy()
    for i, shape in enumerate(shapes):
        colour = np.array(COLOURS[i % len(COLOURS)], dtype=np.float32)
        pixels[shape.mask] += (colour - pixels[shape.mask]) * opacity
    drawn = Image.fromarray(pixels.round().astype(np.uint8))
    pen = ImageDraw.Draw(drawn)
    width = max(2, round(min(drawn.size) / 200))
    for i, shape in enumerate(shapes):
        colour_of = COLOURS[i % len(COLOURS)]
        x1, y1, x2, y2 = shape.box
        pen.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=colour_of, width=width)
        for (x, y), label in zip(shape.points, shape.labels, strict=True):
            radius = 2 * width
            around = (x - radius, y - radius, x + radius, y + radius)
            fill, outline = (colour_of, _WHITE) if label else (_WHITE, colour_of)
            pen.ellipse(around, fill=fill, outline=outline, width=max(1, width // 2))
    return drawn
