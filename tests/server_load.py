"""Requests put on a real server together, and what its metrics and probes say meanwhile."""

import asyncio
import re
import time
from typing import Any, Final

import httpx

from processes import family, wait_until
from running import RunningServer
from soak_traffic import SAME_MASK_IOU, Case, draw_cases, iou

CASES: Final = draw_cases(8, seed=1)


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
    """Each case is answered as when it was asked alone."""
    for response, expected in zip(
        await asyncio.gather(*load(client, len(CASES))), alone, strict=True
    ):
        assert response.status_code == 200, response.text
        assert same(response.json(), expected)


async def assert_nothing_left(client: httpx.AsyncClient, server: RunningServer) -> None:
    for name in ("wise_inflight_requests", "wise_queued_requests", "vllm:num_requests_running"):
        await until_metric(client, name, 0)
    await until_metric(client, "vllm:num_requests_waiting", 0)
    members = family(server.pid).values()
    wait_until(lambda: all(process.shared_images == 0 for process in members), 5)
