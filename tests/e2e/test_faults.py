"""Faults put into a real server from outside: signals to its processes, callers that leave.

One server survives most of it, in the order of this file; the soak and the drain are its end.
"""

import asyncio
import json
import random
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from processes import Process, family, shared_memory, wait_until
from running import RunningServer, running_server
from server_load import (
    CASES,
    ask,
    assert_nothing_left,
    assert_right,
    client_of,
    load,
    metric,
    request,
    same,
    until_metric,
    until_status,
)
from soak import soak

DEADLINE_S, SLACK_S, HEARTBEAT_S, NO_ORPHAN_S = 5.0, 0.2, 2.0, 5.0


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server("--request-deadline-s", str(DEADLINE_S)) as running:
        yield running


@pytest.fixture(scope="module")
def alone(server: RunningServer) -> list[dict[str, Any]]:
    """The answer to each case, asked alone."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        return [client.post("/segment", **request(case)).json() for case in CASES]


def durations_ms(server: RunningServer, code: int) -> list[float]:
    """How long the server took for its answers of this status, by its own log."""
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line[:1] == "{"]
    return [
        line["duration_ms"]
        for line in lines
        if line.get("path") == "/segment" and line["status"] == code
    ]


async def test_leaving_at_any_moment_frees_all_and_does_not_change_other_answers(
    server: RunningServer, alone: list[dict[str, Any]]
) -> None:
    gateway = family(server.pid)["gateway"]
    async with client_of(server) as client:
        descriptors = gateway.descriptors
        rng = random.Random(0)
        before = await metric(client, "wise_cancelled_total")
        for _ in range(3):
            leaving = load(client, 20)
            staying = load(client, len(CASES))
            for task in leaving:
                await asyncio.sleep(rng.uniform(0, 0.04))
                task.cancel()
            left = await asyncio.gather(*leaving, return_exceptions=True)
            for response, expected in zip(await asyncio.gather(*staying), alone, strict=True):
                assert response.status_code == 200, response.text
                assert same(response.json(), expected)
            assert any(isinstance(each, asyncio.CancelledError) for each in left)
        await assert_nothing_left(client, server)
        assert await metric(client, "wise_cancelled_total") > before
    wait_until(lambda: gateway.descriptors <= descriptors, 5)


async def test_leaving_aborts_the_engine_s_request(
    server: RunningServer, alone: list[dict[str, Any]]
) -> None:
    """The callers of a stopped engine leave; when it continues, it has nothing to do."""
    engine = family(server.pid)["engine"]
    async with client_of(server) as client:
        tokens = await metric(client, "vllm:generation_tokens_total")
        engine.signal(signal.SIGSTOP)
        try:
            leaving = load(client, 6)
            await until_metric(client, "wise_inflight_requests", 6)
            await asyncio.sleep(0.5)  # all of them are with the engine
            for task in leaving:
                task.cancel()
            await asyncio.gather(*leaving, return_exceptions=True)
            await until_metric(client, "wise_inflight_requests", 0)
        finally:
            engine.signal(signal.SIGCONT)
        await assert_nothing_left(client, server)
        await asyncio.sleep(0.5)
        assert await metric(client, "vllm:generation_tokens_total") - tokens < 6 * 5
        await assert_right(client, alone)


async def stall(client: httpx.AsyncClient, server: RunningServer, process: Process) -> None:
    """Stop it under requests; they are answered 504 in their time."""
    late = len(durations_ms(server, 504))
    tasks = load(client, 4)
    await until_metric(client, "wise_inflight_requests", 4)
    process.signal(signal.SIGSTOP)
    if process.role == "segmenter":
        assert await until_status(client, 503, HEARTBEAT_S + 1) < HEARTBEAT_S + 0.5
    codes = [response.status_code for response in await asyncio.gather(*tasks)]
    process.signal(signal.SIGCONT)
    assert codes == [504] * 4
    for duration_ms in durations_ms(server, 504)[late:]:
        assert DEADLINE_S * 1000 <= duration_ms < (DEADLINE_S + SLACK_S) * 1000
    await until_status(client, 200, 5)
    await assert_nothing_left(client, server)


@pytest.mark.parametrize("role", ["segmenter", "engine"])
async def test_a_stopped_model_costs_the_deadline_and_comes_back(
    server: RunningServer, alone: list[dict[str, Any]], role: str
) -> None:
    process = family(server.pid)[role]
    async with client_of(server) as client:
        try:
            await stall(client, server, process)
        finally:
            process.signal(signal.SIGCONT)
        await assert_right(client, alone)
    assert family(server.pid)[role].pid == process.pid


async def test_a_killed_segmenter_fails_its_own_at_once_and_comes_back(
    server: RunningServer, alone: list[dict[str, Any]]
) -> None:
    before, segmenter = shared_memory(), family(server.pid)["segmenter"]
    body = httpx.Request("POST", server.url, **request(CASES[0]))
    data, slow = body.read(), asyncio.Event()

    async def in_two_halves() -> Any:
        yield data[: len(data) // 2]
        await slow.wait()
        yield data[len(data) // 2 :]

    async with client_of(server) as client:
        headers = {"Content-Type": body.headers["Content-Type"]}
        other = asyncio.create_task(
            client.post("/segment", content=in_two_halves(), headers=headers)
        )
        tasks = load(client, 20)
        await until_metric(client, "wise_inflight_requests", 21)
        await asyncio.sleep(0.1)
        segmenter.signal(signal.SIGKILL)
        killed_at = time.monotonic()
        responses = await asyncio.gather(*tasks)
        assert time.monotonic() - killed_at < 1
        lost = [response for response in responses if response.status_code == 503]
        assert lost
        assert {response.json()["code"] for response in lost} <= {"segmenter_lost", "not_ready"}
        assert {response.status_code for response in responses} <= {200, 503}
        await until_status(client, 200, 30)
        slow.set()
        assert same((await other).json(), alone[0])
        await assert_right(client, alone)
        await assert_nothing_left(client, server)
    assert shared_memory() <= before
    assert segmenter.gone


async def test_a_short_soak(server: RunningServer) -> None:
    report, violations = await soak(
        server, 15, kill_every_s=8, in_flight=4, rate=20, seed=1, growth_limit_mib=200
    )
    assert violations == []
    assert report["kills"] == 1
    assert min(report["answered"], report["refused"], report["cancelled"]) > 0


async def test_a_drain_finishes_what_is_inside(
    server: RunningServer, alone: list[dict[str, Any]]
) -> None:
    members = family(server.pid)
    async with client_of(server) as client:
        tasks = load(client, 20)
        await until_metric(client, "wise_inflight_requests", 20)
        server.process.send_signal(signal.SIGTERM)
        assert await until_status(client, 503, 1) < 1
        refused = await ask(client, 0)
        assert (refused.status_code, refused.json()["code"]) == (503, "draining")
        answers = await asyncio.gather(*tasks)
    for number, response in enumerate(answers):
        assert same(response.json(), alone[number % len(CASES)])
    assert await asyncio.to_thread(server.process.wait, 30) == 0
    # Python's resource tracker ends by the gateway's end, hence a moment after it.
    wait_until(lambda: all(process.gone for process in members.values()), NO_ORPHAN_S)
