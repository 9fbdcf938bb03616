"""Who may work now: bounded slots, a bounded queue before them, and the drain."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wise_serve.errors import Draining, Overloaded

_LONGEST_RETRY_S = 60.0
_NEWEST_WEIGHT = 0.1  # of the moving average of service times


class Admission:
    """Slots for requests. A slot is taken before the request's body is read."""

    def __init__(self, slots: int, queue: int) -> None:
        self._slots = slots
        self._queue = queue
        self._free = asyncio.Semaphore(slots)
        self._inflight = 0
        self._waiting = 0
        self._service_s: float | None = None  # moving average of how long a slot is held
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def inflight(self) -> int:
        """Requests that hold a slot."""
        return self._inflight

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._waiting

    @property
    def draining(self) -> bool:
        """Whether new requests are refused because the server shuts down."""
        return self._draining

    def retry_after_s(self) -> float:
        """When a slot may be free: queue length over recent service rate, in whole seconds."""
        if self._service_s is None:
            return 1.0
        wait_s = (self._waiting + 1) * self._service_s / self._slots
        return float(min(_LONGEST_RETRY_S, max(1, math.ceil(wait_s))))

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[float]:
        """Hold a slot; gives the seconds waited for it, in order of arrival.

        The caller bounds the wait (the request's deadline). Raises Overloaded when the queue is
        full and Draining when the server shuts down.
        """
        if self._draining:
            raise Draining("The server is shutting down; send the request to another.")
        if self._free.locked() and self._waiting >= self._queue:
            raise Overloaded(
                f"All {self._slots} slots are taken and {self._waiting} requests wait.",
                retry_after_s=self.retry_after_s(),
            )
        arrived = time.monotonic()
        self._waiting += 1
        self._idle.clear()
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
            self._note_idle()
        started = time.monotonic()
        self._inflight += 1
        self._idle.clear()
        try:
            yield started - arrived
        finally:
            self._inflight -= 1
            self._free.release()
            self._measure(time.monotonic() - started)
            self._note_idle()

    def drain(self) -> None:
        """Refuse new requests from now on. Those inside, queued ones too, are finished."""
        self._draining = True

    async def idle(self) -> None:
        """Wait until no request is inside. The caller bounds the wait."""
        await self._idle.wait()

    def _measure(self, held_s: float) -> None:
        before = held_s if self._service_s is None else self._service_s
        self._service_s = before + _NEWEST_WEIGHT * (held_s - before)

    def _note_idle(self) -> None:
        if self._inflight == 0 and self._waiting == 0:
            self._idle.set()
