"""The ingress and Ray around models that only sleep: callers who leave, and the object store.

Run by `make ray-test`. The stand-ins answer at once, so that 5,000 requests take a minute; what
travels is real: each image's pixels through the object store.
"""

import asyncio
import io
import re
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from ray._private.internal_api import memory_summary

import ray
from ray import serve
from ray_cluster import APPLICATION, deploy, ray_cluster
from ray_stand_ins import (
    TimedReasonerReplica,
    TimedSegmenterReplica,
)
from wise_serve.ray.application import build, read_settings

REQUESTS, IN_PARALLEL = 5000, 16
SIDE = 320
MIB = 2**20


class Slow(TimedReasonerReplica):
    """Thirty seconds an answer: long enough to leave."""

    slower = 500.0


class Quick(TimedReasonerReplica):
    slower = 0.0


class QuickSegmenter(TimedSegmenterReplica):
    slower = 0.0


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ray_cluster() as url:
        yield url


def image(number: int) -> bytes:
    """A PNG that no other number has, quick to make and to read."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[0, 0] = number % 256, number // 256, 1
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG", compress_level=1)
    return data.getvalue()


def counts(deployment: str) -> dict[str, int]:
    found: dict[str, int] = (
        serve.get_deployment_handle(deployment, APPLICATION).counts.remote().result(timeout_s=20)
    )
    return found


async def until_counts(expected: dict[str, int]) -> None:
    async with asyncio.timeout(10):
        while await asyncio.to_thread(counts, "Reasoner") != expected:
            await asyncio.sleep(0.1)


def test_a_caller_who_leaves_aborts_the_generation(url: str) -> None:
    deploy(build(read_settings({}), Slow, TimedSegmenterReplica))

    async def scenario() -> None:
        form: dict[str, Any] = {"files": {"image": ("a.png", image(1))}, "data": {"query": "q"}}
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            plain = asyncio.create_task(client.post("/segment", **form))
            await until_counts({"running": 1, "aborted": 0})
            plain.cancel()
            await asyncio.gather(plain, return_exceptions=True)
        await until_counts({"running": 0, "aborted": 1})
        form["data"]["stream"] = "true"
        async with (
            httpx.AsyncClient(base_url=url, timeout=60) as client,
            client.stream("POST", "/segment", **form) as response,
        ):
            async for text in response.aiter_text():
                assert "event: thinking" in text
                break  # leaves after the first words
        await until_counts({"running": 0, "aborted": 2})

    asyncio.run(scenario())


def test_the_object_store_stays_level_over_5000_requests(url: str) -> None:
    deploy(build(read_settings({}), Quick, QuickSegmenter))
    used: list[float] = []

    async def scenario() -> None:
        numbers = iter(range(REQUESTS))
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:

            async def caller() -> None:
                for number in numbers:
                    files = {"image": ("a.png", image(number))}
                    response = await client.post("/segment", files=files, data={"query": "q"})
                    assert response.status_code == 200, response.text
                    assert response.json()["status"] == "found"
                    assert len(response.headers.get_list("x-request-id")) == 1
                    if number % 500 == 499:
                        used.append(await asyncio.to_thread(store_mib))

            await asyncio.gather(*(caller() for _ in range(IN_PARALLEL)))

    asyncio.run(scenario())
    assert counts("Segmenter") == {"encodes": REQUESTS, "pixel_bytes": REQUESTS * SIDE * SIDE * 3}
    most_in_flight = IN_PARALLEL * (SIDE * SIDE + 224 * 224) * 3 / MIB
    assert len(used) == REQUESTS // 500
    assert max(used) < 4 * most_in_flight, used  # freed a moment after the request


def store_mib() -> float:
    """What the object store holds, MiB; nothing may have been written to disk."""
    text = memory_summary(ray.get_runtime_context().gcs_address, stats_only=True)
    assert "Spilled" not in text, text
    found = re.search(r"Plasma memory usage (\d+) MiB", text)
    assert found, text
    return float(found[1])
