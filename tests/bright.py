"""The two models for the client's tests: they find the bright pixels of the image they are given.

So an answer is true of its image, whatever the client made of it before it was sent. The query
"nothing" names nothing.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from fakes import FakeReasoner, FakeSegmenter, tokens_of
from wise_serve.contract.prompts import Mask, Prompt
from wise_serve.reasoner import ReasonDelta, ReasonRequest
from wise_serve.reasoner.strategies import STRATEGIES
from wise_serve.segmenter import ImageSession, Timing

RATIONALE = "bright, so this is it"
_NOTHING = {strategy.prompt("nothing") for strategy in STRATEGIES.values()}
_TEXT = "<think>{}</think><answer>{}</answer>"
_OBJECT = '{{"bbox": [{}, {}, {}, {}], "points_1": [{}, {}], "points_2": [{}, {}]}}'
THINKING_TOKENS = len(tokens_of(RATIONALE))
COMPLETION_TOKENS = len(tokens_of(_TEXT.format(RATIONALE, _OBJECT.format(*range(8)))))
SCORE = 0.94


def bright_pixels(picture: Image.Image) -> NDArray[np.bool_]:
    """bool [height, width]"""
    return np.asarray(picture.convert("L")) > 127


class BrightReasoner(FakeReasoner):
    """A box about all bright pixels, a point in its middle and one in its corner."""

    async def stream(self, request: ReasonRequest) -> AsyncGenerator[ReasonDelta, None]:
        text = _TEXT.format(RATIONALE, _answer(request))
        self.script = lambda _: text  # read before anything else can run
        async with aclosing(super().stream(request)) as deltas:
            async for delta in deltas:
                yield delta


def _answer(request: ReasonRequest) -> str:
    found = bright_pixels(request.image)
    if not found.any() or request.prompt in _NOTHING:
        return "[]"
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    x1, y1, x2, y2 = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return _OBJECT.format(x1, y1, x2, y2, (x1 + x2) // 2, (y1 + y2) // 2, x1, y1)


@dataclass
class BrightSession:
    """Answers each prompt with all bright pixels of its image."""

    inner: ImageSession
    found: NDArray[np.bool_]

    async def encoded(self) -> Timing:
        return await self.inner.encoded()

    async def lost(self) -> NoReturn:
        await self.inner.lost()

    async def decode(self, prompts: Sequence[Prompt]) -> tuple[list[Mask], Timing]:
        _, timing = await self.inner.decode(prompts)
        counts = coco.encode(np.asfortranarray(self.found.astype(np.uint8)))["counts"]
        height, width = self.found.shape
        mask = Mask((height, width), counts.decode("ascii"), SCORE, int(self.found.sum()))
        return [mask] * len(prompts), timing


@dataclass
class BrightSegmenter(FakeSegmenter):
    """`found`: the bright pixels of each image, by its digest."""

    found: dict[str, NDArray[np.bool_]] = field(default_factory=dict)

    @asynccontextmanager
    async def open(
        self, pixels: NDArray[np.uint8], digest: str, request_id: str
    ) -> AsyncIterator[ImageSession]:
        self.found[digest] = bright_pixels(Image.fromarray(pixels))
        async with super().open(pixels, digest, request_id) as session:
            yield BrightSession(session, self.found[digest])

    @asynccontextmanager
    async def reopen(
        self, size: tuple[int, int], digest: str, request_id: str
    ) -> AsyncIterator[ImageSession]:
        async with super().reopen(size, digest, request_id) as session:
            yield BrightSession(session, self.found.get(digest, np.zeros(size[::-1], bool)))
