"""The segmenter's replicas as the pipeline sees them."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from wise_serve.contract.errors import ImageUnknown, NotReady, SegmenterLost
from wise_serve.contract.prompts import Mask, Prompt
from wise_serve.ray.calls import SharedPixels, ask
from wise_serve.ray.messages import ImageAt
from wise_serve.segmenter import ImageSession, Timing
from wise_serve.settings import Settings


class RemoteSegmenter:
    """`Segmenter` on the replicas of a deployment.

    Encode and decode are calls of their own, both to the replica that the image's digest names. A
    decode carries no pixels at first, since the replica has the embedding nearly always; if it does
    not, the call is repeated with a reference to the pixels, and the replica encodes the image. So
    the loss of a replica costs time, not the request.
    """

    failed = False  # Ray replaces replicas, and ends an application that it cannot keep alive

    def __init__(self, settings: Settings, handle: Any) -> None:
        """`handle`: Ray's DeploymentHandle of `SegmenterReplica`."""
        self.name = settings.segmenter
        self._handle = handle
        self._pixels = SharedPixels()
        self._started = False

    @property
    def alive(self) -> bool:
        """Whether a replica has answered. Ray replaces those that are lost; requests wait."""
        return self._started

    async def start(self) -> None:
        """Wait for a replica; the caller bounds the wait."""
        await ask(self._handle.facts, lost=NotReady)
        self._started = True

    async def stop(self) -> None:
        """Nothing to end: Ray ends the replicas."""
        self._started = False

    @asynccontextmanager
    async def open(
        self, pixels: NDArray[np.uint8], digest: str, request_id: str
    ) -> AsyncIterator[ImageSession]:
        """See `Segmenter.open`; `encoded` and `decode` also raise NotReady, Overloaded."""
        height, width = pixels.shape[:2]
        async with self._pixels.put(digest, pixels) as reference:
            image = ImageAt((height, width), request_id, reference)
            async with self._session(image, digest) as session:
                yield session

    def reopen(
        self, size: tuple[int, int], digest: str, request_id: str
    ) -> AbstractAsyncContextManager[ImageSession]:
        """See `Segmenter.reopen`."""
        return self._session(ImageAt(size, request_id, None), digest)

    @asynccontextmanager
    async def _session(self, image: ImageAt, digest: str) -> AsyncIterator[ImageSession]:
        encode = asyncio.create_task(_encode(self._handle, image, digest))
        try:
            yield RemoteSession(self._handle, image, digest, encode)
        finally:
            encode.cancel()
            await asyncio.gather(encode, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class RemoteSession:
    """`ImageSession` on whichever replicas answer."""

    handle: Any
    image: ImageAt
    digest: str
    encode: "asyncio.Task[Timing]"

    async def encoded(self) -> Timing:
        """See `ImageSession.encoded`."""
        return await asyncio.shield(self.encode)

    async def lost(self) -> NoReturn:
        """Never returns: the calls themselves notice a lost replica, and ask another one."""
        await asyncio.get_running_loop().create_future()
        raise AssertionError("unreachable: only cancelling ends this wait")

    async def decode(self, prompts: Sequence[Prompt]) -> tuple[list[Mask], Timing]:
        """See `ImageSession.decode`. The time on the way to the replica counts as its queue."""
        if not prompts:
            return [], Timing(0.0, 0.0)
        await self.encoded()
        started = time.perf_counter()
        try:
            masks, timing = await self._decode(replace(self.image, pixels=None), prompts)
        except ImageUnknown:
            if self.image.pixels is None:
                raise
            masks, timing = await self._decode(self.image, prompts)
        return masks, _since(started, timing)

    async def _decode(self, image: ImageAt, prompts: Sequence[Prompt]) -> tuple[list[Mask], Timing]:
        answer: tuple[list[Mask], Timing] = await ask(
            self.handle.decode, image, tuple(prompts), lost=SegmenterLost, digest=self.digest
        )
        return answer


async def _encode(handle: Any, image: ImageAt, digest: str) -> Timing:
    started = time.perf_counter()
    timing: Timing = await ask(handle.encode, image, lost=SegmenterLost, digest=digest)
    return _since(started, timing)


def _since(started: float, timing: Timing) -> Timing:
    """The timing as the caller of the replica sees it. All time that was not work counts as queue
    time, also the time of the messages to the replica and back."""
    waited_ms = (time.perf_counter() - started) * 1000 - timing.work_ms - timing.rle_ms
    return replace(timing, queue_ms=max(0.0, waited_ms))
