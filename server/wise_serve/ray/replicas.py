"""The models in Ray Serve replicas: the same classes that the single server runs."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from prometheus_client import REGISTRY, CollectorRegistry

from wise_serve.compose import make_reasoner, make_segmenter
from wise_serve.contract.errors import ImageUnknown, NotReady
from wise_serve.contract.prompts import Mask, Prompt
from wise_serve.downloads import Downloads, checkpoints_of
from wise_serve.observe import logs
from wise_serve.observe.segmenter_metrics import SegmenterMetrics
from wise_serve.ray.board import keep_writing
from wise_serve.ray.messages import ImageAt, ReasonerFacts, Step
from wise_serve.reasoner import ReasonDelta, Reasoner, ReasonRequest
from wise_serve.reasoner.engine_args import read_engine_args
from wise_serve.reasoner.strategies import load_strategies
from wise_serve.segmenter import ImageSession, Segmenter, Timing
from wise_serve.settings import MINIATURE, NO_REASONER, Settings

# `digest` and `attempt` of the methods below are for the router alone (see `routing`).


class ReasonerReplica:
    """vLLM in this process, its engine core in a process of its own that ends with this one."""

    step_every_s = 0.1
    """Tokens that are written within this time travel in one message: each message costs the
    replica and the ingress processor time. Short enough that a reader sees words as they come."""

    async def __init__(self, settings: Settings, board: Any) -> None:  # type: ignore[misc]  # Ray awaits it
        logs.configure(settings.log_level)
        await _download(settings.model_copy(update={"segmenter": MINIATURE}))
        self._reasoner = self.make(settings)
        await self._reasoner.start()
        self._writing = asyncio.ensure_future(keep_writing(board, REGISTRY))
        logs.event(logging.INFO, "ready", {"part": "reasoner"})

    def make(self, settings: Settings) -> Reasoner:
        """The model; nothing is loaded yet."""
        return make_reasoner(settings, load_strategies(settings))

    async def facts(self) -> ReasonerFacts:
        """What an ingress asks for once, at its start."""
        return ReasonerFacts(self._reasoner.image_size, self._reasoner.special_tokens())

    async def stream(
        self, question: ReasonRequest, pixels: NDArray[np.uint8], *, digest: str, attempt: int
    ) -> AsyncGenerator[Step, None]:
        """See `Reasoner.stream`. question: its image is a stand-in. pixels: the real image, H x W x
        3, RGB, uint8, as the model sees it.

        Raises ReasonerLost, NotReady.
        """
        request = replace(question, image=Image.fromarray(pixels))
        async with (
            aclosing(self._reasoner.stream(request)) as deltas,
            aclosing(gathered(deltas, self.step_every_s)) as steps,
        ):
            async for delta in steps:
                yield Step(delta, self._reasoner.token_texts(delta.token_ids))

    async def check_health(self) -> None:
        """Called by Ray; an error replaces the replica."""
        if not self._reasoner.alive:
            raise NotReady("The reasoning engine does not answer.")

    async def __del__(self) -> None:
        """Called by Ray when the replica is stopped."""
        if hasattr(self, "_reasoner"):
            await self._reasoner.stop()


class SegmenterReplica:
    """SAM 2 in its worker processes, which batch what all ingress replicas send."""

    async def __init__(self, settings: Settings, board: Any) -> None:  # type: ignore[misc]  # Ray awaits it
        logs.configure(settings.log_level)
        await _download(settings.model_copy(update={"reasoner": NO_REASONER}))
        registry = CollectorRegistry()
        self._segmenter = self.make(settings, SegmenterMetrics(registry))
        await self._segmenter.start()
        self._writing = asyncio.ensure_future(keep_writing(board, registry))
        logs.event(logging.INFO, "ready", {"part": "segmenter"})

    def make(self, settings: Settings, metrics: SegmenterMetrics) -> Segmenter:
        """The model's workers; none is started yet."""
        return make_segmenter(settings, metrics)

    async def facts(self) -> None:
        """An ingress calls it once, at its start: an answer shows that there is a replica."""

    async def encode(self, image: ImageAt, *, digest: str, attempt: int) -> Timing:
        """Make the embedding, unless it is there. Raises SegmenterLost, NotReady, Overloaded,
        ImageUnknown if the image comes without pixels and its embedding is gone."""
        _, timing = await self._at(image, digest, None)
        return timing

    async def decode(
        self, image: ImageAt, prompts: Sequence[Prompt], *, digest: str, attempt: int
    ) -> tuple[list[Mask], Timing]:
        """A mask for each prompt, in order. Encodes the image again if another replica has done it.
        Raises as `encode`."""
        return await self._at(image, digest, prompts)

    async def check_health(self) -> None:
        """Called by Ray; an error replaces the replica. A lost worker is no reason: the replica
        starts it again by itself, unless that has failed too often."""
        if self._segmenter.failed:
            raise NotReady("The segmenter is lost.")

    async def __del__(self) -> None:
        """Called by Ray when the replica is stopped."""
        if hasattr(self, "_segmenter"):
            await self._segmenter.stop()

    async def _at(
        self, image: ImageAt, digest: str, prompts: Sequence[Prompt] | None
    ) -> tuple[list[Mask], Timing]:
        """Use the embedding in the cache; only without one, fetch the pixels and encode them."""
        try:
            async with self._segmenter.reopen(image.size, digest, image.request_id) as session:
                return await _asked(session, prompts)
        except ImageUnknown:
            if image.pixels is None:
                raise
        pixels = await image.pixels
        async with self._segmenter.open(pixels, digest, image.request_id) as session:
            return await _asked(session, prompts)


async def gathered(
    deltas: AsyncIterator[ReasonDelta], every_s: float
) -> AsyncGenerator[ReasonDelta, None]:
    """The same text in fewer deltas: the first at once, then at most one in `every_s` seconds, and
    the last at once."""
    held: ReasonDelta | None = None
    sent_at = -every_s
    async for delta in deltas:
        held = delta if held is None else _joined(held, delta)
        if delta.finish_reason is not None or time.monotonic() - sent_at >= every_s:
            sent_at = time.monotonic()
            yield held
            held = None
    if held is not None:
        yield held


def _joined(earlier: ReasonDelta, later: ReasonDelta) -> ReasonDelta:
    """Two deltas as one; the counts are totals, so the later ones hold."""
    return replace(
        later, text=earlier.text + later.text, token_ids=earlier.token_ids + later.token_ids
    )


async def _asked(
    session: ImageSession, prompts: Sequence[Prompt] | None
) -> tuple[list[Mask], Timing]:
    timing = await session.encoded()
    return ([], timing) if prompts is None else await session.decode(prompts)


async def _download(settings: Settings) -> None:
    """The checkpoint of one model, if it is not on this node."""
    await Downloads(checkpoints_of(settings, read_engine_args(settings.engine_args))).run()
