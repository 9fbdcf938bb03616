"""Procedural scenes: 2 to 5 shapes that do not overlap, on a plain, gradient or noisy background.

The domain is wider than the models' description says, so that scenes which others draw from that
description are inside it. Coordinates are pixels of the scene's image, x to the right, y down, with
pixel centres at half-integers.
"""

import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

KINDS = ("circle", "square", "triangle", "star")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (235, 210, 40),
    "purple": (150, 60, 190),
    "orange": (245, 140, 30),
    "white": (240, 240, 240),
    "black": (25, 25, 25),
}
COLOUR_JITTER = 20  # each channel, plus or minus
SUPERSAMPLE = 3  # coverage is drawn this much finer than the image
MIN_SIDE, MAX_SIDE = 96, 2048  # pixels

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """One shape. `polygon` is N x 2 float64 (x, y) pixels; `size` the diameter of its circle."""

    kind: str
    colour: str
    rgb: tuple[int, int, int]
    centre: tuple[float, float]
    size: float
    polygon: Floats
    mask: NDArray[np.bool_]  # H x W, the pixels that show it

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x1, y1, x2, y2 of the outline."""
        (x1, y1), (x2, y2) = self.polygon.min(axis=0), self.polygon.max(axis=0)
        return float(x1), float(y1), float(x2), float(y2)

    @property
    def area(self) -> float:
        """Area of the outline in square pixels (shoelace formula)."""
        x, y = self.polygon.T
        return float(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2)


@dataclass(frozen=True)
class Scene:
    """A drawn image (RGB) and its shapes, in no particular order."""

    image: Image.Image
    shapes: tuple[Shape, ...]


def draw_scene(
    rng: np.random.Generator, *, max_side: int = MAX_SIDE, aspect: float | None = None
) -> Scene:
    """Draw a scene. `max_side` bounds the longer side in pixels; `aspect` fixes width / height."""
    width, height = _size(rng, max_side, aspect)
    placed = _place(rng, width, height)
    canvas = _background(rng, width, height)
    mean_background = canvas.reshape(-1, 3).mean(axis=0)
    shapes = []
    used: set[tuple[str, str]] = set()
    for kind, centre, size in placed:
        colour, rgb = _colour(rng, kind, mean_background, used)
        polygon = _polygon(rng, kind, centre, size)
        mask = _paint(rng, canvas, polygon, rgb)
        shapes.append(Shape(kind, colour, rgb, centre, size, polygon, mask))
    if rng.random() < 0.3:
        canvas += rng.normal(0, rng.uniform(1, 10), canvas.shape)
    image = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    return Scene(_compress(rng, image), tuple(shapes))


def _size(rng: np.random.Generator, max_side: int, aspect: float | None) -> tuple[int, int]:
    if aspect is None:
        spread = rng.choice([0.3, 0.9, 2.2], p=[0.5, 0.3, 0.2])
        aspect = math.exp(rng.uniform(-spread, spread))
    longer = math.exp(rng.uniform(math.log(min(160, max_side)), math.log(max_side)))
    width, height = (longer, longer / aspect) if aspect >= 1 else (longer * aspect, longer)
    return max(MIN_SIDE, round(width)), max(MIN_SIDE, round(height))


def _place(
    rng: np.random.Generator, width: int, height: int
) -> list[tuple[str, tuple[float, float], float]]:
    """Kinds, centres and sizes of shapes whose circles keep apart and stay in the image."""
    shorter = min(width, height)
    count = int(rng.integers(2, 6))
    while True:
        placed: list[tuple[str, tuple[float, float], float]] = []
        top = 0.40 if rng.random() < 0.6 else 0.28
        sizes = sorted(rng.uniform(0.13, top, count) * shorter, reverse=True)
        for size in sizes:
            kind = str(rng.choice(KINDS))
            # A square's side may be its size, too: its circle is then wider.
            if kind == "square" and rng.random() < 0.5:
                size *= math.sqrt(2)
            radius = size / 2
            gap = rng.uniform(0.005, 0.05) * shorter
            for _ in range(40):
                x = float(rng.uniform(radius + 1, width - radius - 1))
                y = float(rng.uniform(radius + 1, height - radius - 1))
                if all(
                    math.hypot(x - cx, y - cy) > radius + other / 2 + gap
                    for _, (cx, cy), other in placed
                ):
                    placed.append((kind, (x, y), float(size)))
                    break
        if len(placed) == count:
            order = rng.permutation(count)
            return [placed[i] for i in order]


def _colour(
    rng: np.random.Generator, kind: str, background: Floats, used: set[tuple[str, str]]
) -> tuple[str, tuple[int, int, int]]:
    """A colour that is visible on the background; the same kind and colour twice only rarely."""
    while True:
        colour = str(rng.choice(list(COLOURS)))
        jitter = rng.integers(-COLOUR_JITTER, COLOUR_JITTER + 1, 3)
        rgb = np.clip(np.array(COLOURS[colour]) + jitter, 0, 255)
        if np.abs(rgb - background).max() < 45:
            continue
        if (kind, colour) in used and rng.random() < 0.9:
            continue
        used.add((kind, colour))
        return colour, (int(rgb[0]), int(rgb[1]), int(rgb[2]))


def _polygon(
    rng: np.random.Generator, kind: str, centre: tuple[float, float], size: float
) -> Floats:
    radius, start = size / 2, float(rng.uniform(0, 2 * math.pi))
    if kind != "circle" and rng.random() < 0.25:
        start = -math.pi / 2 if kind != "square" else math.pi / 4  # upright
    if kind == "star":
        inner = rng.uniform(0.36, 0.52)
        radii = np.tile([radius, radius * inner], 5)
    else:
        radii = np.full({"circle": 72, "square": 4, "triangle": 3}[kind], radius)
    angles = start + np.arange(len(radii)) * 2 * math.pi / len(radii)
    return np.stack(
        [centre[0] + radii * np.cos(angles), centre[1] + radii * np.sin(angles)], axis=1
    )


def _paint(
    rng: np.random.Generator, canvas: Floats, polygon: Floats, rgb: tuple[int, int, int]
) -> NDArray[np.bool_]:
    """Blend a polygon into the canvas (H x W x 3, in place); return the pixels it covers."""
    height, width = canvas.shape[:2]
    x1, y1 = np.maximum(np.floor(polygon.min(axis=0)).astype(int) - 1, 0)
    x2, y2 = np.ceil(polygon.max(axis=0)).astype(int) + 1
    x2, y2 = min(x2, width), min(y2, height)
    fine = Image.new("L", ((x2 - x1) * SUPERSAMPLE, (y2 - y1) * SUPERSAMPLE))
    outline = ((polygon - (x1, y1)) * SUPERSAMPLE - 0.5).ravel().tolist()
    ImageDraw.Draw(fine).polygon(outline, fill=255)
    coverage = np.asarray(fine.resize((x2 - x1, y2 - y1), Image.Resampling.BOX), np.float64) / 255
    if rng.random() < 0.3:
        coverage = (coverage >= 0.5).astype(np.float64)  # hard edges
    fill = np.zeros((y2 - y1, x2 - x1, 3)) + rgb
    texture = rng.random()
    if texture < 0.2:
        fill += rng.normal(0, rng.uniform(2, 14), (y2 - y1, x2 - x1, 1))
    elif texture < 0.35:
        ys, xs = np.mgrid[0 : y2 - y1, 0 : x2 - x1]
        angle, period = rng.uniform(0, math.pi), rng.uniform(0.1, 0.6) * (x2 - x1)
        wave = np.sin((xs * math.cos(angle) + ys * math.sin(angle)) * 2 * math.pi / period)
        fill += rng.uniform(3, 16) * wave[..., None]
    part = canvas[y1:y2, x1:x2]
    part += (fill - part) * coverage[..., None]
    mask = np.zeros((height, width), bool)
    mask[y1:y2, x1:x2] = coverage >= 0.5
    return mask


def _background(rng: np.random.Generator, width: int, height: int) -> Floats:
    """H x W x 3 float64, 0..255."""
    base = _background_colour(rng)
    canvas: Floats = np.zeros((height, width, 3)) + base
    kind = rng.random()
    if 0.35 < kind < 0.7:
        ys, xs = np.mgrid[0:height, 0:width]
        angle = rng.uniform(0, 2 * math.pi)
        ramp = xs / width * math.cos(angle) + ys / height * math.sin(angle)
        if rng.random() < 0.25:
            ramp = np.hypot(xs / width - rng.random(), ys / height - rng.random())
        ramp = (ramp - ramp.min()) / max(float(np.ptp(ramp)), 1e-9)
        other = np.clip(base + rng.uniform(-90, 90, 3), 0, 255)
        canvas += ramp[..., None] * (other - base)
    if kind > 0.6:
        deviation = rng.uniform(4, 35)
        channels = 3 if rng.random() < 0.6 else 1
        noise: Floats = rng.normal(0, deviation, (height, width, channels))
        if rng.random() < 0.35:
            noise = _smooth_noise(rng, width, height, deviation)
        canvas += noise
    return canvas


def _background_colour(rng: np.random.Generator) -> Floats:
    draw = rng.random()
    if draw < 0.4:
        return np.full(3, rng.uniform(0, 255)) + rng.uniform(-8, 8, 3)  # greys
    if draw < 0.75:
        return rng.uniform(150, 245, 3)  # pale
    return rng.uniform(0, 255, 3)


def _smooth_noise(rng: np.random.Generator, width: int, height: int, deviation: float) -> Floats:
    coarse = rng.normal(0, deviation, (int(rng.integers(3, 12)), int(rng.integers(3, 12))))
    blurred = Image.fromarray(coarse.astype(np.float32)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    return np.asarray(blurred, np.float64)[..., None]


def _compress(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    if rng.random() < 0.5:
        return image
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(rng.integers(40, 96)))
    return Image.open(buffer).convert("RGB")
