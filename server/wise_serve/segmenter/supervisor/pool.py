"""Several segmenter workers, one or more per device, as one `Segmenter`."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import numpy as np
from numpy.typing import NDArray

from wise_serve.contract.errors import NotReady
from wise_serve.placement import place
from wise_serve.segmenter import ImageSession
from wise_serve.segmenter.supervisor.client import WORKER, SegmenterClient
from wise_serve.segmenter.supervisor.observer import SegmenterObserver
from wise_serve.settings import Settings

ObserverOf = Callable[[str], SegmenterObserver]
"""Makes the observer of a worker, from the worker's name."""

Opened = AbstractAsyncContextManager[ImageSession]


class SegmenterPool:
    """`Segmenter` on the workers of `Settings.segmenter_workers` and `segmenter_devices`.

    The image's digest decides to which worker it goes, see `placement`. When a worker is lost, only
    its own requests fail; until it is back, its images go to the others. `failed` is true when
    every worker has died too often.
    """

    def __init__(
        self, settings: Settings, observer_of: ObserverOf, program: Sequence[str] = WORKER
    ) -> None:
        """`program`: Python's arguments that run a worker."""
        self.name = settings.segmenter
        self.workers = {
            str(number): SegmenterClient(settings, observer_of(str(number)), program, device)
            for number, device in enumerate(settings.segmenter_placements)
        }
        self._sessions: Counter[str] = Counter()

    @property
    def alive(self) -> bool:
        """Whether a request sent now could be answered: at least one worker is alive."""
        return any(worker.alive for worker in self.workers.values())

    @property
    def failed(self) -> bool:
        """Whether every worker has died too often and is not restarted."""
        return all(worker.failed for worker in self.workers.values())

    async def start(self) -> None:
        """Start all workers and wait for their warm-up. Raises NotReady if one of them fails."""
        starts = [asyncio.create_task(worker.start()) for worker in self.workers.values()]
        try:
            await asyncio.gather(*starts)
        except BaseException:
            for start in starts:
                start.cancel()
            await asyncio.gather(*starts, return_exceptions=True)
            await self.stop()
            raise

    async def stop(self) -> None:
        """End all workers; requests in flight fail with SegmenterLost."""
        await asyncio.gather(*(worker.stop() for worker in self.workers.values()))

    def open(self, pixels: NDArray[np.uint8], digest: str, request_id: str) -> Opened:
        """See `Segmenter.open`. Entering raises NotReady while no worker is alive."""
        return self._at_its_place(digest, lambda worker: worker.open(pixels, digest, request_id))

    def reopen(self, size: tuple[int, int], digest: str, request_id: str) -> Opened:
        """See `Segmenter.reopen`. Entering raises NotReady while no worker is alive."""
        return self._at_its_place(digest, lambda worker: worker.reopen(size, digest, request_id))

    @asynccontextmanager
    async def _at_its_place(
        self, digest: str, opened: Callable[[SegmenterClient], Opened]
    ) -> AsyncIterator[ImageSession]:
        loads = {name: self._sessions[name] for name, one in self.workers.items() if one.alive}
        if not loads:
            raise NotReady("The segmenter is not ready.")
        chosen = place(digest, loads)
        self._sessions[chosen] += 1
        try:
            async with opened(self.workers[chosen]) as session:
                yield session
        finally:
            self._sessions[chosen] -= 1
