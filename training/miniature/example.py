"""Draws the playground's example image: `python -m miniature.example out.jpg`.

It has four shapes of the models' domain. Nothing is random: the file is the same every time.
"""

import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from miniature.scenes import COLOURS, SUPERSAMPLE

WIDTH, HEIGHT = 640, 480
# Kind, colour, centre (x, y pixels), diameter of its circle (pixels), turn (degrees).
SHAPES = (
    ("circle", "red", (150, 140), 124, 0),
    ("square", "blue", (450, 165), 208, 38),
    ("star", "yellow", (205, 345), 150, -98),
    ("triangle", "green", (455, 368), 138, -80),
)
CORNERS = {"circle": 72, "square": 4, "star": 10, "triangle": 3}


def draw_example() -> Image.Image:
    """640 x 480, RGB: soft edges on a pale gradient with a little noise."""
    ys, xs = np.mgrid[0:HEIGHT, 0:WIDTH]
    ramp = (xs / WIDTH + ys / HEIGHT)[..., None] / 2
    canvas = (232.0, 228.0, 220.0) - ramp * (26.0, 22.0, 14.0)
    for kind, colour, centre, size, turn in SHAPES:
        coverage = _coverage(_corners(kind, centre, size, turn))[..., None]
        canvas += (np.array(COLOURS[colour]) - canvas) * coverage
    canvas += np.random.default_rng(1).normal(0, 1.5, canvas.shape)
    return Image.fromarray(np.clip(canvas.round(), 0, 255).astype(np.uint8))


def _corners(
    kind: str, centre: tuple[int, int], size: float, turn: float
) -> list[tuple[float, float]]:
    corners = []
    for number in range(CORNERS[kind]):
        inner = kind == "star" and number % 2
        radius = size / 2 * (0.44 if inner else 1)
        angle = math.radians(turn) + number * 2 * math.pi / CORNERS[kind]
        corners.append((centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle)))
    return corners


def _coverage(corners: list[tuple[float, float]]) -> np.ndarray:
    fine = Image.new("L", (WIDTH * SUPERSAMPLE, HEIGHT * SUPERSAMPLE))
    outline = [(x * SUPERSAMPLE - 0.5, y * SUPERSAMPLE - 0.5) for x, y in corners]
    ImageDraw.Draw(fine).polygon(outline, fill=255)
    return np.asarray(fine.resize((WIDTH, HEIGHT), Image.Resampling.BOX), np.float64) / 255


if __name__ == "__main__":
    draw_example().save(Path(sys.argv[1]), "JPEG", quality=88)
