"""Requests that a server cannot answer now, or in their time, over HTTP."""

import asyncio
from typing import Any

from fakes import FakeReasoner, FakeSegmenter
from gateways import Start, eventually
from refusals import JSON, problem, still_right


async def test_a_full_server_answers_429_to_any_body(start: Start) -> None:
    server = await start(
        reasoner=FakeReasoner(delay_s=0.01), max_inflight_requests=1, max_queued_requests=1
    )
    inside = [asyncio.create_task(server.form()) for _ in range(2)]
    await eventually(lambda: server.runtime.admission.waiting == 1)

    # Whatever came with the head is read, and nothing more: test_unread.py.
    response = await server.client.post("/segment", content=b"no image", headers=JSON)
    problem(response, 429, "overloaded")
    assert int(response.headers["retry-after"]) >= 1
    assert server.sample("wise_rejected_total", reason="overloaded") == 1
    assert [answer.status_code for answer in await asyncio.gather(*inside)] == [200, 200]


async def test_loading_and_lost_models_are_503(start: Start) -> None:
    reasoner = FakeReasoner(gate=asyncio.Event())
    server = await start(reasoner=reasoner, ready=False)
    problem(await server.form(), 503, "not_ready")
    problem(await server.client.get("/readyz"), 503, "not_ready")
    assert (await server.client.get("/livez")).status_code == 200
    assert reasoner.gate is not None
    reasoner.gate.set()
    ready = asyncio.Event()
    server.runtime.lifecycle.on_ready = ready.set
    await asyncio.wait_for(ready.wait(), 2)
    await still_right(server)
    for model in (server.reasoner, server.segmenter):
        model.alive = False
        problem(await server.form(), 503, "not_ready")
        problem(await server.client.get("/readyz"), 503, "not_ready")
        model.alive = True


async def test_draining_is_503(start: Start) -> None:
    server = await start()
    server.runtime.admission.drain()
    problem(await server.form(), 503, "draining")
    problem(await server.client.get("/readyz"), 503, "draining")


async def test_models_lost_under_a_request(start: Start) -> None:
    server = await start(
        reasoner=FakeReasoner(fail_after=3), segmenter=FakeSegmenter(encode_s=0.01)
    )
    problem(await server.form(), 503, "reasoner_lost")
    server.reasoner.fail_after = None
    server.segmenter.lost = True
    server.reasoner.delay_s = 0.5
    problem(await server.form(), 503, "segmenter_lost")
    assert server.reasoner.running == 0
    assert server.reasoner.aborted == len(server.reasoner.requests)
    assert server.segmenter.open_now == 0
    server.segmenter.lost, server.reasoner.delay_s = False, 0.0
    await still_right(server)


async def test_a_segmenter_lost_during_generation_fails_the_request_at_once(start: Start) -> None:
    server = await start(reasoner=FakeReasoner(delay_s=0.1))
    answer = asyncio.create_task(server.form())
    await eventually(lambda: len(server.reasoner._vocabulary) > 1)
    server.segmenter.lost = True
    problem(await asyncio.wait_for(answer, 1), 503, "segmenter_lost")
    assert (server.reasoner.running, server.reasoner.aborted) == (0, 1)


async def test_past_the_deadline_is_504(start: Start) -> None:
    server = await start(reasoner=FakeReasoner(delay_s=10), request_deadline_s=0.1)
    began = asyncio.get_running_loop().time()
    problem(await server.form(), 504, "deadline_exceeded")
    # Far from the 10 s of the reasoner; how soon is held by test_deadlines.py.
    assert asyncio.get_running_loop().time() - began < 2
    assert (server.reasoner.running, server.segmenter.open_now) == (0, 0)


async def test_waiting_in_the_queue_counts_towards_the_deadline(start: Start) -> None:
    server = await start(
        reasoner=FakeReasoner(delay_s=10), request_deadline_s=0.1, max_inflight_requests=1
    )
    both = await asyncio.gather(server.form(), server.form())
    for response in both:
        problem(response, 504, "deadline_exceeded")


async def test_a_defect_is_500_and_reveals_nothing(start: Start, caplog: Any) -> None:
    def broken(prompt: str) -> str:
        raise RuntimeError(f"canary {prompt}")

    server = await start(reasoner=FakeReasoner(script=broken))
    detail = problem(await server.form(), 500, "internal_error")
    assert "canary" not in detail
    labels = {"strategy": "wise-s", "status": "error", "code": "500"}
    assert server.sample("wise_requests_total", **labels) == 1
    assert "request failed" in caplog.text
