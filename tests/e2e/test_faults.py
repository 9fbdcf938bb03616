"""Faults put into a real server from outside: signals to its processes, callers that leave.

One server survives most of it, in the order of this file; the soak and the drain are its end.
"""

import asyncio
import json
import random
import re
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from processes import Process, family, shared_memory, wait_until
from running import RunningServer, running_server
from soak import soak
from soak_traffic import SAME_MASK_IOU, Case, draw_cases, iou

DEADLINE_S, SLACK_S, HEARTBEAT_S, NO_ORPHAN_S = 5.0, 0.2, 2.0, 5.0
CASES = draw_cases(8, seed=1)


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server("--request-deadline-s", str(DEADLINE_S)) as running:
        yield running


@pytest.fixture(scope="module")
def alone(server: RunningServer) -> list[dict[str, Any]]:
    """The answer to each case, asked alone."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        return [client.post("/segment", **request(case)).json() for case in CASES]


def request(case: Case) -> dict[str, Any]:
    return {"files": {"image": ("a.png", case.image)}, "data": {"query": case.query}}


def client_of(server: RunningServer) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=100)
    return httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits)


async def ask(client: httpx.AsyncClient, number: int) -> httpx.Response:
    return await client.post("/segment", **request(CASES[number % len(CASES)]))


def load(client: httpx.AsyncClient, count: int) -> list[asyncio.Task[httpx.Response]]:
    return [asyncio.create_task(ask(client, number)) for number in range(count)]


async def metric(client: httpx.AsyncClient, name: str) -> float:
    """The sum of its series."""
    text = (await client.get("/metrics")).text
    found = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", text, re.M)
    assert found, name
    return sum(map(float, found))


async def until_metric(client: httpx.AsyncClient, name: str, value: float) -> None:
    async with asyncio.timeout(10):
        while await metric(client, name) != value:
            await asyncio.sleep(0.02)


async def status(client: httpx.AsyncClient) -> int:
    return (await client.get("/readyz")).status_code


async def until_status(client: httpx.AsyncClient, value: int, within_s: float) -> float:
    """The seconds it took."""
    began = time.monotonic()
    while await status(client) != value:
        assert time.monotonic() - began < within_s
        await asyncio.sleep(0.02)
    return time.monotonic() - began


def same(answer: dict[str, Any], alone: dict[str, Any]) -> bool:
    found = answer["image"] == alone["image"] and answer["status"] == alone["status"]
    return found and iou(answer, alone) >= SAME_MASK_IOU


async def assert_right(client: httpx.AsyncClient, alone: list[dict[str, Any]]) -> None:
    for response, expected in zip(
        await asyncio.gather(*load(client, len(CASES))), alone, strict=True
    ):
        assert response.status_code == 200, response.text
        assert same(response.json(), expected)


async def assert_nothing_left(client: httpx.AsyncClient, server: RunningServer) -> None:
    for name in ("wise_inflight_requests", "wise_queued_requests", "vllm:num_requests_running"):
        await until_metric(client, name, 0)
    await until_metric(client, "vllm:num_requests_waiting", 0)
    for process in family(server.pid).values():
        wait_until(lambda process=process: process.shared_images == 0, 5)


def durations_ms(server: RunningServer, code: int) -> list[float]:
    """How long the server took for its answers of this status, by its own log."""
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line[:1] == "{"]
    return [
        line["duration_ms"]
        for line in lines
        if line.get("path") == "/segment" and line["status"] == code
    ]


async def test_leaving_at_any_moment_frees_all_and_leaves_the_others_right(
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
    """A stopped engine holds its requests; their callers leave; it finds nothing to do."""
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
        server, 20, kill_every_s=12, in_flight=4, rate=20, seed=1, growth_limit_mib=200
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
