"""Fakes that answer truly about the example image: fixed places, masks by colour."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from fakes import FakeSegmenter, FakeSession, earlier_mask
from wise_serve.contract.prompts import FOREGROUND, Mask, Prompt
from wise_serve.segmenter import ImageSession, Timing

WIDTH, HEIGHT, SQUARE = 640, 480, 840  # pixels: the example image, the reasoner's square
# Box and two points of each shape, pixels of the example image.
SHAPES = {
    "circle": ((88, 78, 212, 202), (150, 140), (170, 150)),
    "square": ((368, 83, 532, 247), (450, 165), (470, 190)),
    "star": ((131, 271, 272, 411), (205, 345), (210, 330)),
    "triangle": ((390, 300, 508, 412), (455, 368), (450, 375)),
}
CENTRES = {name: places[1] for name, places in SHAPES.items()}
ANSWERS = {
    "the red circle": ("red and round, upper left", ["circle"]),
    "the largest shape": ("the blue square is the largest", ["square"]),
    "the one that could roll": ("round, so it rolls", ["circle"]),
    "every warm colour": ("red and yellow are warm", ["circle", "star"]),
    "the purple dog": ("no dog here", []),
}
NEAR = 60  # greatest difference of a channel from the colour at the first point


def write(prompt: str) -> str:
    """What a reasoner writes to the prompt of any strategy."""
    rationale, names = next(answer for query, answer in ANSWERS.items() if query in prompt)
    places = [_place(name, several="bbox_2d" in prompt) for name in names]
    answer = places[0] if places and "bbox_2d" not in prompt else places
    return f"<think> {rationale} </think>\n<answer>{json.dumps(answer)}</answer>"


def _place(name: str, *, several: bool) -> dict[str, list[int]]:
    (x1, y1, x2, y2), *points = SHAPES[name]
    first, second = (_scaled(*point) for point in points)
    box = _scaled(x1, y1) + _scaled(x2, y2)
    if several:
        return {"bbox_2d": box, "point_2d": first}
    return {"bbox": box, "points_1": first, "points_2": second}


def _scaled(x: int, y: int) -> list[int]:
    return [round(x * SQUARE / WIDTH), round(y * SQUARE / HEIGHT)]


@dataclass(kw_only=True)
class ColourSession(FakeSession):
    """A prompt's mask: its earlier mask, and the pixels in its box (without one, anywhere) that are
    coloured as a foreground point is; less those that are coloured as a background point is."""

    pixels: NDArray[np.uint8]

    async def decode(self, prompts: Sequence[Prompt]) -> tuple[list[Mask], Timing]:
        _, timing = await super().decode(prompts)
        return [self._mask(prompt) for prompt in prompts], timing

    def _mask(self, prompt: Prompt) -> Mask:
        height, width = self.shape
        x1, y1, x2, y2 = (round(value) for value in prompt.box or (0, 0, width, height))
        inside = np.zeros(self.shape, bool)
        inside[y1:y2, x1:x2] = True
        mask = np.zeros(self.shape, np.uint8, order="F")
        if prompt.mask is not None:
            mask |= earlier_mask(self.shape, prompt.mask)
        labels = prompt.labels or (FOREGROUND,) * len(prompt.points)
        for (x, y), label in zip(prompt.points, labels, strict=True):
            colour = self.pixels[min(round(y), height - 1), min(round(x), width - 1)]
            near = np.abs(self.pixels.astype(int) - colour).max(axis=2) < NEAR
            mask[near & inside] = label
        counts = coco.encode(mask)["counts"].decode("ascii")
        return Mask(size=self.shape, counts=counts, score=0.97, area=int(mask.sum()))


@dataclass
class ColourSegmenter(FakeSegmenter):
    """Segments by colour. `images`: those that were opened, by digest."""

    images: dict[str, NDArray[np.uint8]] = field(default_factory=dict)

    @asynccontextmanager
    async def open(
        self, pixels: NDArray[np.uint8], digest: str, request_id: str
    ) -> AsyncIterator[ImageSession]:
        self.opened += 1
        self.digests.add(digest)
        self.images[digest] = pixels
        async with self._coloured(pixels, self.encode_s) as session:
            yield session

    @asynccontextmanager
    async def reopen(
        self, size: tuple[int, int], digest: str, request_id: str
    ) -> AsyncIterator[ImageSession]:
        self.reopened += 1
        async with self._coloured(self.images[digest], 0.0) as session:
            session.unknown = digest not in self.digests
            yield session

    @asynccontextmanager
    async def _coloured(
        self, pixels: NDArray[np.uint8], encode_s: float
    ) -> AsyncIterator["ColourSession"]:
        encode = asyncio.create_task(asyncio.sleep(encode_s))
        try:
            size = pixels.shape[0], pixels.shape[1]
            yield ColourSession(self, size, encode, encode_s, pixels=pixels)
        finally:
            encode.cancel()
