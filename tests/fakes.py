"""Fakes of the two models, behind the same Protocols. Their answers follow simple rules."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, MutableSequence, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from pycocotools import mask as coco

from wise_serve.contract.errors import ImageUnknown, ReasonerLost, SegmenterLost
from wise_serve.contract.prompts import COARSE_SIDE, FOREGROUND, Mask, Prompt
from wise_serve.reasoner import FinishReason, ReasonDelta, ReasonRequest
from wise_serve.segmenter import ImageSession, Timing
from wise_serve.segmenter.supervisor.observer import SegmenterObserver, Silent

FOUND = (
    "<think> red circle, upper left </think>\n<answer>"
    '{"bbox": [84,84,420,420], "points_1": [200,210], "points_2": [300,310]}</answer>'
)
_WORDS = re.compile(rb"\s*\w+|\s*[^\w\s]|\s+")
PROMPT_TOKENS, CACHED_TOKENS = 1043, 900
DAB = 8  # half the side of the square about a point, pixels


def tokens_of(text: str) -> list[bytes]:
    """Words and marks; a character beyond ASCII falls apart into its bytes."""
    tokens: list[bytes] = []
    for match in _WORDS.findall(text.encode()):
        tokens += [match] if match.isascii() else [bytes([byte]) for byte in match]
    return tokens


@dataclass
class FakeReasoner:
    """Writes `script(prompt)`. `delay_s` before each step, of `step_tokens` tokens; `fail_after`
    steps it is lost."""

    script: Callable[[str], str] = lambda prompt: FOUND
    finish: FinishReason = "stop"
    delay_s: float = 0.0
    step_tokens: int = 1
    fail_after: int | None = None
    start_error: Exception | None = None
    gate: asyncio.Event | None = None
    name: str = "fake-reasoner"
    image_size: int | None = 840
    alive: bool = True
    requests: MutableSequence[ReasonRequest] = field(default_factory=list)
    running: int = 0
    aborted: int = 0
    stopped: bool = False
    _vocabulary: list[bytes] = field(default_factory=list)

    async def start(self) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.start_error is not None:
            raise self.start_error

    async def stop(self) -> None:
        self.stopped = True

    async def stream(self, request: ReasonRequest) -> AsyncGenerator[ReasonDelta, None]:
        self.requests.append(request)
        self.running += 1
        finished = False
        try:
            tokens = tokens_of(self.script(request.prompt))[: request.max_tokens]
            pending = b""
            starts = range(0, len(tokens), self.step_tokens)
            for index, start in enumerate(starts):
                await asyncio.sleep(self.delay_s)
                if index == self.fail_after:
                    raise ReasonerLost("The reasoning engine was lost.")
                step = tokens[start : start + self.step_tokens]
                text, pending = _decodable(pending + b"".join(step))
                self._vocabulary += [one for one in step if one not in self._vocabulary]
                yield ReasonDelta(
                    text=text,
                    token_ids=tuple(map(self._vocabulary.index, step)),
                    prompt_tokens=PROMPT_TOKENS,
                    cached_tokens=CACHED_TOKENS,
                    finish_reason=self.finish if index == len(starts) - 1 else None,
                )
            finished = True
        finally:
            self.running -= 1
            self.aborted += not finished

    def special_tokens(self) -> frozenset[str]:
        return frozenset({"<|im_start|>", "<|im_end|>", "<|image_pad|>", "<|vision_start|>"})

    def token_texts(self, token_ids: Sequence[int]) -> list[bytes]:
        return [self._vocabulary[index] for index in token_ids]


def _decodable(data: bytes) -> tuple[str, bytes]:
    try:
        return data.decode(), b""
    except UnicodeDecodeError as error:
        return data[: error.start].decode(), data[error.start :]


def box_mask(shape: tuple[int, int], box: Sequence[float]) -> Mask:
    """The mask of a filled box."""
    x1, y1, x2, y2 = (float(value) for value in box)
    return prompt_mask(shape, Prompt((x1, y1, x2, y2)))


def prompt_mask(shape: tuple[int, int], prompt: Prompt) -> Mask:
    """The earlier mask and the filled box, with a square added about each foreground point and
    taken away about each background one. Alternatives: the same, less likely."""
    pixels = np.zeros(shape, np.uint8, order="F")
    if prompt.mask is not None:
        pixels |= earlier_mask(shape, prompt.mask)
    if prompt.box is not None:
        x1, y1, x2, y2 = (round(value) for value in prompt.box)
        pixels[y1:y2, x1:x2] = 1
    labels = prompt.labels or (FOREGROUND,) * len(prompt.points)
    for (x, y), label in zip(prompt.points, labels, strict=True):
        left, top = max(round(x) - DAB, 0), max(round(y) - DAB, 0)
        pixels[top : round(y) + DAB, left : round(x) + DAB] = label
    counts = coco.encode(pixels)["counts"].decode("ascii")
    mask = Mask(size=shape, counts=counts, score=0.9, area=int(pixels.sum()))
    others = tuple(replace(mask, score=score) for score in (0.8, 0.7))
    return replace(mask, alternatives=others) if prompt.choice == "all" else mask


def earlier_mask(shape: tuple[int, int], coarse: bytes) -> NDArray[np.bool_]:
    """A prompt's earlier mask at the size of its image."""
    cells = np.frombuffer(coarse, np.uint8).reshape(COARSE_SIDE, COARSE_SIDE)
    rows, columns = (np.arange(side) * COARSE_SIDE // side for side in shape)
    found: NDArray[np.bool_] = cells[rows][:, columns] >= COARSE_SIDE // 2
    return found


@dataclass
class FakeSession:
    """Answers each prompt by `prompt_mask`."""

    owner: "FakeSegmenter"
    shape: tuple[int, int]
    encode: asyncio.Task[None]
    encode_s: float = 0.0
    queue_ms: float = 1.0
    unknown: bool = False

    async def encoded(self) -> Timing:
        await asyncio.shield(self.encode)
        if self.unknown:
            raise ImageUnknown("The image is not known any more; send it again.")
        if self.owner.lost:
            raise SegmenterLost("The segmenter was lost.")
        return Timing(self.queue_ms, work_ms=self.encode_s * 1000)

    async def lost(self) -> NoReturn:
        while not self.owner.lost:
            await asyncio.sleep(0.005)
        raise SegmenterLost("The segmenter was lost.")

    async def decode(self, prompts: Sequence[Prompt]) -> tuple[list[Mask], Timing]:
        self.owner.prompts += prompts
        self.owner.observer.batch("decode", len(prompts))
        await self.encoded()
        await asyncio.sleep(self.owner.decode_s)
        return [prompt_mask(self.shape, item) for item in prompts], Timing(0.5, 2.0, 0.25)


@dataclass
class FakeSegmenter:
    """`lost`: the worker died; every call of a session fails. `observer`: told as by the real one,
    each item a batch of its own."""

    encode_s: float = 0.0
    decode_s: float = 0.0
    lost: bool = False
    observer: SegmenterObserver = field(default_factory=Silent)
    name: str = "fake-segmenter"
    alive: bool = True
    failed: bool = False
    prompts: MutableSequence[Prompt] = field(default_factory=list)
    opened: int = 0
    reopened: int = 0
    open_now: int = 0
    stopped: bool = False
    digests: set[str] = field(default_factory=set)

    async def start(self) -> None:
        await asyncio.sleep(0)

    async def stop(self) -> None:
        self.stopped = True

    @asynccontextmanager
    async def open(
        self, pixels: NDArray[np.uint8], digest: str, request_id: str
    ) -> AsyncIterator[ImageSession]:
        self.opened += 1
        self.observer.cache("hit" if digest in self.digests else "miss")
        if digest not in self.digests:
            self.digests.add(digest)
            self.observer.batch("encode", 1)
        async with self._session((pixels.shape[0], pixels.shape[1]), self.encode_s) as session:
            yield session

    @asynccontextmanager
    async def reopen(
        self, size: tuple[int, int], digest: str, request_id: str
    ) -> AsyncIterator[ImageSession]:
        self.reopened += 1
        async with self._session(size, 0.0) as session:
            session.queue_ms = 0.0
            session.unknown = digest not in self.digests
            yield session

    @asynccontextmanager
    async def _session(self, size: tuple[int, int], encode_s: float) -> AsyncIterator[FakeSession]:
        self.open_now += 1
        encode = asyncio.create_task(asyncio.sleep(encode_s))
        try:
            yield FakeSession(self, size, encode, encode_s)
        finally:
            encode.cancel()
            self.open_now -= 1
