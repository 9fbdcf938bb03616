"""No caller can block another one: which caller gets a slot or a place in the queue."""

import asyncio
import itertools
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from wise_serve.contract.errors import Overloaded
from wise_serve.pipeline.admission import Admission


class Hall:
    """Requests at an Admission, one event-loop step at a time."""

    def __init__(self, slots: int, queue: int) -> None:
        self.admission = Admission(slots, queue)
        self.served: list[str] = []  # callers, in the order in which they were given a slot
        self.inside: list[tuple[str, int, asyncio.Event]] = []
        self.refused: list[tuple[str, int]] = []
        self.waiting: dict[int, tuple[str, asyncio.Task[None]]] = {}
        self._numbers = itertools.count()

    async def arrive(self, caller: str) -> int:
        number = next(self._numbers)
        task = asyncio.create_task(self._request(caller, number))
        self.waiting[number] = (caller, task)
        await self.settle()
        return number

    async def leave(self, index: int = 0) -> None:
        """The request that holds the slot taken `index`-th longest ago ends."""
        self.inside[index][2].set()
        await self.settle()

    async def cancel(self, number: int) -> None:
        self.waiting.pop(number)[1].cancel()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def empty(self) -> None:
        while self.inside:
            await self.leave()
        assert not self.waiting
        assert (self.admission.inflight, self.admission.waiting) == (0, 0)
        await asyncio.wait_for(self.admission.idle(), 1)

    async def _request(self, caller: str, number: int) -> None:
        try:
            async with self.admission.slot(caller):
                del self.waiting[number]
                ticket = (caller, number, asyncio.Event())
                self.served.append(caller)
                self.inside.append(ticket)
                try:
                    await ticket[2].wait()
                finally:
                    self.inside.remove(ticket)
        except Overloaded:
            self.waiting.pop(number, None)
            self.refused.append((caller, number))


async def test_a_lone_caller_may_use_everything() -> None:
    hall = Hall(slots=2, queue=3)
    for _ in range(6):
        await hall.arrive("a")
    assert (hall.admission.inflight, hall.admission.waiting) == (2, 3)
    assert hall.refused == [("a", 5)]
    await hall.empty()
    assert hall.served == ["a"] * 5


async def test_a_small_caller_is_next_however_many_a_greedy_one_has_waiting() -> None:
    hall = Hall(slots=2, queue=10)
    for _ in range(8):
        await hall.arrive("greedy")
    await hall.arrive("small")
    await hall.leave()
    assert hall.served == ["greedy", "greedy", "small"]
    await hall.empty()


async def test_callers_get_equal_shares_of_the_slots() -> None:
    hall = Hall(slots=4, queue=40)
    for caller in ("greedy",) * 24 + ("b",) * 8 + ("c",) * 8:
        await hall.arrive(caller)
    for _ in range(12):
        await hall.leave()
    held = Counter(caller for caller, _, _ in hall.inside)
    assert set(held.values()) <= {1, 2}
    assert set(held) == {"greedy", "b", "c"}
    await hall.empty()


async def test_a_full_queue_makes_room_by_the_newest_of_the_greediest() -> None:
    hall = Hall(slots=1, queue=4)
    for _ in range(5):
        await hall.arrive("greedy")
    for _ in range(2):
        await hall.arrive("small")
    assert hall.refused == [("greedy", 4), ("greedy", 3)]
    await hall.arrive("small")  # two each now: no more than that
    await hall.arrive("greedy")
    assert hall.refused[2:] == [("small", 7), ("greedy", 8)]
    await hall.empty()
    assert hall.served == ["greedy", "small", "greedy", "small", "greedy"]


async def test_retry_after_follows_the_callers_own_queue(monkeypatch: Any) -> None:
    now = 0.0
    monkeypatch.setattr("wise_serve.pipeline.admission.time.monotonic", lambda: now)
    hall = Hall(slots=1, queue=9)
    await hall.arrive("greedy")
    now = 3.0
    await hall.leave()
    for _ in range(5):
        await hall.arrive("greedy")
    retry = hall.admission.retry_after_s
    assert (retry("greedy"), retry("small")) == (15, 6)  # four wait before; one other caller waits
    await hall.empty()


async def test_a_slot_given_to_a_caller_who_leaves_is_passed_on() -> None:
    hall = Hall(slots=1, queue=3)
    await hall.arrive("a")
    leaving = await hall.arrive("a")
    await hall.arrive("a")
    hall.inside[0][2].set()
    await asyncio.sleep(0)  # the slot is handed on, its new owner has not run yet
    await hall.cancel(leaving)
    assert [number for _, number, _ in hall.inside] == [2]
    await hall.empty()


CALLERS = st.sampled_from("abc")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), CALLERS),
        st.tuples(st.just("leave"), st.integers(0, 9)),
        st.tuples(st.just("cancel"), st.integers(0, 9)),
    ),
    max_size=60,
)


@given(slots=st.integers(1, 4), queue=st.integers(0, 6), steps=STEPS)
def test_no_sequence_of_events_breaks_the_bounds(
    slots: int, queue: int, steps: list[tuple[str, Any]]
) -> None:
    asyncio.run(_whatever(Hall(slots, queue), slots, queue, steps))


async def _whatever(hall: Hall, slots: int, queue: int, steps: list[tuple[str, Any]]) -> None:
    for kind, value in steps:
        before = {number: caller for number, (caller, _) in hall.waiting.items()}
        if kind == "arrive":
            await hall.arrive(value)
        elif kind == "leave" and hall.inside:
            await hall.leave(value % len(hall.inside))
        elif kind == "cancel" and hall.waiting:
            gone = list(hall.waiting)[value % len(hall.waiting)]
            del before[gone]
            await hall.cancel(gone)
        assert len(hall.inside) == hall.admission.inflight <= slots
        assert len(hall.waiting) == hall.admission.waiting <= queue
        if hall.waiting:  # no slot is free while a request waits
            assert len(hall.inside) == slots
        for _, number, _ in hall.inside:
            if number in before:  # it has just got its slot: first of its own
                assert number == min(n for n, c in before.items() if c == before[number])
                held = Counter(caller for caller, _, _ in hall.inside)
                for other in set(before.values()):
                    assert held[before[number]] - 1 <= held[other]
    await hall.empty()


@given(
    slots=st.integers(1, 3),
    longest=st.integers(1, 5),
    lengths=st.lists(st.integers(1, 5), min_size=200, max_size=200),
)
def test_no_waiter_starves(slots: int, longest: int, lengths: list[int]) -> None:
    asyncio.run(_no_waiter_starves(slots, longest, lengths))


async def _no_waiter_starves(slots: int, longest: int, lengths: list[int]) -> None:
    """Two callers keep the queue full; a third waits. A slot is held for 2 to longest + 1 turns."""
    hall, ends, durations = Hall(slots, queue=8), dict[int, int](), iter(lengths)
    patient, since = -1, 5
    for turn in range(since + 3 * (longest + 1) + 1):  # no later than after one turn of each caller
        for greedy in "aaaaabbbbb":
            await hall.arrive(greedy)
        if turn == since:
            patient = await hall.arrive("patient")
            assert patient in hall.waiting  # a full queue made room
        elif turn > since and patient not in hall.waiting:
            assert ("patient", patient) not in hall.refused
            break
        for _, number, _ in hall.inside:
            ends.setdefault(number, turn + min(longest, next(durations)))
        for index in reversed(range(len(hall.inside))):
            if ends.get(hall.inside[index][1], turn + 1) <= turn:
                await hall.leave(index)
    else:
        raise AssertionError("it still waits")
    for _, task in list(hall.waiting.values()):
        task.cancel()
    await hall.settle()
    hall.waiting.clear()
    await hall.empty()
