"""Replicas that sleep in place of their models, so that two cores do not limit what is measured.

One request at a time, as a device that is busy with one batch: so a replica's throughput is known,
1 / REASON_S and 1 / ENCODE_S, and N replicas can do N times as much. What surrounds the models is
real: the ingress, Ray, pixels through the object store, a stream of steps.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, NoReturn

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from wise_serve.contract.errors import ImageUnknown
from wise_serve.contract.prompts import Mask, Prompt
from wise_serve.observe.segmenter_metrics import SegmenterMetrics
from wise_serve.ray.replicas import ReasonerReplica, SegmenterReplica
from wise_serve.reasoner import ReasonDelta, Reasoner, ReasonRequest
from wise_serve.segmenter import ImageSession, Segmenter, Timing
from wise_serve.settings import Settings

REASON_S: Final = 0.060  # seconds for one answer
ENCODE_S: Final = 0.020  # seconds for one image
STEPS: Final = 6  # steps of an answer: 10 ms each, about the pace of a 7B model on a GPU
ANSWER: Final = (
    "<think> a square in the middle </think>\n<answer>"
    '{"bbox": [84,84,420,420], "points_1": [200,210], "points_2": [300,310]}</answer>'
)
KNOWN_IMAGES: Final = 256  # images that a stand-in segmenter remembers, as an embedding cache does


@dataclass
class TimedReasoner:
    """`Reasoner` that writes ANSWER in `reason_s`. running, aborted: answers under way, cut off."""

    reason_s: float = REASON_S
    name: str = "timed-stand-in"
    image_size: int | None = 224  # small, so that resizing in the ingress is not what is measured
    alive: bool = True
    running: int = 0
    aborted: int = 0

    def __post_init__(self) -> None:
        self._device = asyncio.Semaphore(1)
        size = -(-len(ANSWER) // STEPS)
        self._pieces = [ANSWER[start : start + size] for start in range(0, len(ANSWER), size)]

    async def start(self) -> None:
        """Do nothing: there is no model to load."""

    async def stop(self) -> None:
        """Do nothing: there is no process to end."""

    async def stream(self, request: ReasonRequest) -> AsyncGenerator[ReasonDelta, None]:
        """ANSWER, piece by piece, each a token."""
        finished = False
        self.running += 1
        try:
            async with self._device:
                for index, piece in enumerate(self._pieces):
                    await asyncio.sleep(self.reason_s / len(self._pieces))
                    last = index == len(self._pieces) - 1
                    yield ReasonDelta(piece, (index,), 1043, 0, "stop" if last else None)
            finished = True
        finally:
            self.running -= 1
            self.aborted += not finished

    def special_tokens(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def token_texts(self, token_ids: Sequence[int]) -> list[bytes]:
        """The pieces of ANSWER."""
        return [self._pieces[token_id].encode() for token_id in token_ids]


@dataclass(frozen=True)
class TimedSession:
    """`ImageSession` that answers a prompt with its filled box."""

    size: tuple[int, int]
    encode_s: float

    async def encoded(self) -> Timing:
        """Return at once: the image was encoded when it was opened."""
        return Timing(0.0, self.encode_s * 1000)

    async def lost(self) -> NoReturn:
        """Never return: a stand-in is not lost."""
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def decode(self, prompts: Sequence[Prompt]) -> tuple[list[Mask], Timing]:
        """A mask for each prompt."""
        return [self._mask(prompt) for prompt in prompts], Timing(0.0, 0.1)

    def _mask(self, prompt: Prompt) -> Mask:
        pixels = np.zeros(self.size, np.uint8, order="F")
        if prompt.box is not None:
            x1, y1, x2, y2 = map(round, prompt.box)
            pixels[y1:y2, x1:x2] = 1
        counts = coco.encode(pixels)["counts"].decode("ascii")
        return Mask(self.size, counts, 0.9, int(pixels.sum()))


@dataclass
class TimedSegmenter:
    """`Segmenter` that encodes an image in `encode_s`, and remembers KNOWN_IMAGES.

    pixel_bytes: how many bytes of pixels have been read.
    """

    encode_s: float = ENCODE_S
    name: str = "timed-stand-in"
    alive: bool = True
    failed: bool = False
    encodes: int = 0
    pixel_bytes: int = 0

    def __post_init__(self) -> None:
        self._device = asyncio.Semaphore(1)
        self._known: dict[str, None] = {}

    async def start(self) -> None:
        """Do nothing: there is no process to start."""

    async def stop(self) -> None:
        """Do nothing: there is no process to end."""

    @asynccontextmanager
    async def open(
        self, pixels: NDArray[np.uint8], digest: str, request_id: str
    ) -> AsyncIterator[ImageSession]:
        """Encode the image, unless it is remembered."""
        if digest not in self._known:
            self.pixel_bytes += len(pixels.tobytes())  # reads all of them, as a copy would
            self.encodes += 1
            async with self._device:
                await asyncio.sleep(self.encode_s)
            self._known[digest] = None
            if len(self._known) > KNOWN_IMAGES:
                del self._known[next(iter(self._known))]
        yield TimedSession((pixels.shape[0], pixels.shape[1]), self.encode_s)

    @asynccontextmanager
    async def reopen(
        self, size: tuple[int, int], digest: str, request_id: str
    ) -> AsyncIterator[ImageSession]:
        """Raises ImageUnknown on entering."""
        if digest not in self._known:
            raise ImageUnknown("The image is not known any more; send it again.")
        yield TimedSession(size, 0.0)


class TimedReasonerReplica(ReasonerReplica):
    """The real replica around a stand-in. slower: how many times as long as said above."""

    slower = 1.0
    timed: TimedReasoner

    def make(self, settings: Settings) -> Reasoner:
        """The stand-in."""
        self.timed = TimedReasoner(REASON_S * self.slower)
        return self.timed

    async def counts(self) -> dict[str, int]:
        """What the stand-in counted."""
        return {"running": self.timed.running, "aborted": self.timed.aborted}


class TimedSegmenterReplica(SegmenterReplica):
    """The real replica around a stand-in. slower: as above."""

    slower = 1.0
    timed: TimedSegmenter

    def make(self, settings: Settings, metrics: SegmenterMetrics) -> Segmenter:
        """The stand-in."""
        self.timed = TimedSegmenter(ENCODE_S * self.slower)
        return self.timed

    async def counts(self) -> dict[str, int]:
        """What the stand-in counted."""
        return {"encodes": self.timed.encodes, "pixel_bytes": self.timed.pixel_bytes}


class TenfoldReasonerReplica(TimedReasonerReplica):
    """Ten times as slow: 0.6 s an answer, nearer to a 7B model, and little for the cores to do."""

    slower = 10.0


class TenfoldSegmenterReplica(TimedSegmenterReplica):
    """Ten times as slow: 0.2 s an image."""

    slower = 10.0
