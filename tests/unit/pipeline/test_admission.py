"""Slots, the queue, Retry-After and the drain. Fairness: test_fairness.py."""

import asyncio

import pytest

from wise_serve.contract.errors import Draining, Overloaded
from wise_serve.pipeline.admission import Admission


async def test_slots_queue_and_refusal_in_order_of_arrival() -> None:
    admission, order, leave = Admission(slots=1, queue=2), [], asyncio.Event()

    async def work(name: str) -> None:
        async with admission.slot():
            order.append(name)
            await leave.wait()

    tasks = [asyncio.create_task(work(name)) for name in "abc"]
    await asyncio.sleep(0)
    assert (admission.inflight, admission.waiting) == (1, 2)
    with pytest.raises(Overloaded) as refused:
        await work("d")
    assert refused.value.retry_after_s >= 1
    leave.set()
    await asyncio.gather(*tasks)
    assert order == ["a", "b", "c"]
    assert (admission.inflight, admission.waiting) == (0, 0)


async def test_counters_go_down_on_errors_and_cancellation() -> None:
    admission = Admission(slots=1, queue=1)
    with pytest.raises(ValueError, match="x"):
        async with admission.slot():
            raise ValueError("x")
    async with admission.slot():
        waiting = asyncio.create_task(admission.slot().__aenter__())
        await asyncio.sleep(0)
        assert admission.waiting == 1
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert admission.waiting == 0
    assert admission.inflight == 0
    async with asyncio.timeout(1), admission.slot():
        pass


async def test_check_room_answers_without_waiting() -> None:
    admission, leave = Admission(slots=1, queue=1), asyncio.Event()

    async def work(caller: str) -> None:
        async with admission.slot(caller):
            await leave.wait()

    admission.check_room("greedy")
    tasks = [asyncio.create_task(work("greedy"))]
    await asyncio.sleep(0)
    admission.check_room("greedy")  # in the queue
    tasks.append(asyncio.create_task(work("greedy")))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        admission.check_room("greedy")
    assert (admission.inflight, admission.waiting) == (1, 1)
    admission.drain()
    with pytest.raises(Draining):
        admission.check_room("greedy")
    leave.set()
    await asyncio.gather(*tasks)


async def test_retry_after_follows_the_service_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("wise_serve.pipeline.admission.time.monotonic", lambda: now)
    admission = Admission(slots=2, queue=0)
    assert admission.retry_after_s() == 1
    async with admission.slot():
        now = 14.0
    assert admission.retry_after_s() == 7  # one waits for the next of two slots held 14 s each
    async with admission.slot():
        now += 5000
    assert admission.retry_after_s() == 60


async def test_drain_refuses_the_new_and_waits_for_those_inside() -> None:
    admission, leave = Admission(slots=1, queue=1), asyncio.Event()

    async def work() -> None:
        async with admission.slot():
            await leave.wait()

    tasks = [asyncio.create_task(work()) for _ in range(2)]
    await asyncio.sleep(0)
    admission.drain()
    with pytest.raises(Draining):
        async with admission.slot():
            pass
    idle = asyncio.create_task(admission.idle())
    await asyncio.sleep(0.01)
    assert not idle.done()
    leave.set()
    async with asyncio.timeout(1):
        await asyncio.gather(idle, *tasks)
