"""Admission: a bounded number of slots, a bounded queue shared fairly between callers, the drain.

Not a semaphore or a rate limiter: those know no callers, and their queues have no limit.

A caller is an API key's name. A free slot goes to the waiting caller who holds the fewest, and
among those to the one served longest ago; a caller's own requests are served in order of arrival.
A full queue makes room for a caller with fewer requests in it by refusing the newest of the caller
with the most. So a lone caller may use everything, and no caller can lock another out.
"""

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from wise_serve.contract.errors import Draining, Overloaded

_LONGEST_RETRY_S = 60.0
_NEWEST_WEIGHT = 0.1  # of the moving average of service times


@dataclass(slots=True)
class _Caller:
    held: int = 0
    waiters: deque[asyncio.Future[None]] = field(default_factory=deque)


class Admission:
    """Slots for requests. A request gets its slot before its body is read.

    slots, queue: how many requests run and how many wait at most. Fairness needs a queue no
    shorter than the number of callers.
    """

    def __init__(self, slots: int, queue: int) -> None:
        self._slots = slots
        self._queue = queue
        # In the order in which they last got a slot. Never removed: there is one per API key.
        self._callers: OrderedDict[str, _Caller] = OrderedDict()
        self._service_s: float | None = None  # moving average of how long a slot is held
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def inflight(self) -> int:
        """Requests that hold a slot."""
        return sum(caller.held for caller in self._callers.values())

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return sum(len(caller.waiters) for caller in self._callers.values())

    @property
    def draining(self) -> bool:
        """Whether new requests are refused because the server shuts down."""
        return self._draining

    def retry_after_s(self, caller: str = "") -> float:
        """When a slot may be free for this caller: the length of its queue over its share of the
        recent service rate, in whole seconds."""
        if self._service_s is None:
            return 1.0
        own = self._callers.get(caller)
        ahead = len(own.waiters) if own else 0
        others = sum(1 for other in self._callers.values() if other.waiters and other is not own)
        wait_s = (ahead + 1) * (others + 1) * self._service_s / self._slots
        return float(min(_LONGEST_RETRY_S, max(1, math.ceil(wait_s))))

    def check_room(self, caller: str = "") -> None:
        """Raise the error that `slot` would raise at once: Draining, Overloaded.

        Without the cost of a task, because under overload most requests end here.
        """
        if self._draining:
            raise Draining("The server is shutting down; send the request to another.")
        if self.inflight >= self._slots and self.waiting >= self._queue:
            self._check_share(caller)

    @asynccontextmanager
    async def slot(self, caller: str = "") -> AsyncIterator[float]:
        """Hold a slot; yields the seconds waited for it.

        The caller bounds the wait (the request's deadline). Raises Overloaded when the queue is
        full, or later when another caller needs the place in it, and Draining when the server
        shuts down.
        """
        self.check_room(caller)
        arrived = time.monotonic()
        await self._enter(caller)
        started = time.monotonic()
        try:
            yield started - arrived
        finally:
            self._measure(time.monotonic() - started)
            self._release(caller)

    def drain(self) -> None:
        """Refuse new requests from now on. Those inside, queued ones too, are finished."""
        self._draining = True

    async def idle(self) -> None:
        """Wait until no request is inside. The caller bounds the wait."""
        await self._idle.wait()

    async def _enter(self, name: str) -> None:
        if name not in self._callers:
            self._callers[name] = _Caller()
            self._callers.move_to_end(name, last=False)  # never served: longest ago
        caller = self._callers[name]
        self._idle.clear()
        if self.inflight < self._slots:
            # Nobody waits for it: a freed slot is passed on at once.
            self._take(name)
            return
        if self.waiting >= self._queue:
            self._make_room()  # `check_room` has made sure that somebody can be refused
        waiter = asyncio.get_running_loop().create_future()
        caller.waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._release(name)  # it got the slot at the same moment
            raise
        finally:
            with suppress(ValueError):
                caller.waiters.remove(waiter)
            self._note_idle()

    def _check_share(self, name: str) -> None:
        """Raises Overloaded unless another caller has more requests waiting and can lose one."""
        own = self._callers.get(name)
        most = max((len(caller.waiters) for caller in self._callers.values()), default=0)
        if (len(own.waiters) if own else 0) + 1 >= most:
            raise self._overloaded(name)

    def _make_room(self) -> None:
        """Refuse the newest waiting request of the caller that has the most."""
        name, longest = max(self._callers.items(), key=lambda item: len(item[1].waiters))
        waiter = longest.waiters.pop()
        if not waiter.done():
            waiter.set_exception(self._overloaded(name))

    def _overloaded(self, name: str) -> Overloaded:
        return Overloaded(
            f"All {self._slots} slots are in use and {self.waiting} requests wait.",
            retry_after_s=self.retry_after_s(name),
        )

    def _take(self, name: str) -> None:
        self._callers[name].held += 1
        self._callers.move_to_end(name)

    def _release(self, name: str) -> None:
        self._callers[name].held -= 1
        while waiting := [item for item in self._callers.items() if item[1].waiters]:
            # Of those who hold the fewest, the one served longest ago: the first in this order.
            next_name, caller = min(waiting, key=lambda item: item[1].held)
            waiter = caller.waiters.popleft()
            if not waiter.done():  # else its request has just been cancelled
                self._take(next_name)
                waiter.set_result(None)
                break
        self._note_idle()

    def _measure(self, held_s: float) -> None:
        before = held_s if self._service_s is None else self._service_s
        self._service_s = before + _NEWEST_WEIGHT * (held_s - before)

    def _note_idle(self) -> None:
        if self.inflight == 0 and self.waiting == 0:
            self._idle.set()
