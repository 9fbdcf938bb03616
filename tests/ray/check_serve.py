"""The miniature on Ray Serve keeps the single server's promises. Run by `make ray-test`.

Two replicas of each model. The single server runs first and is ended, so that the two do not share
the machine's cores.
"""

import asyncio
import random
import re
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ray_cluster import deploy, ray_cluster, replica_processes
from running import running_server
from soak_traffic import SAME_MASK_IOU, Case, draw_cases, iou
from wise_serve.ray.application import build, read_settings

SCENES = 100
CALLERS = 6
WITHIN_S = 240.0
CASES = draw_cases(SCENES, seed=18)
Answer = dict[str, Any]


def form(case: Case) -> dict[str, Any]:
    return {"files": {"image": ("a.png", case.image)}, "data": {"query": case.query}}


def answers_one_by_one(url: str) -> list[Answer]:
    with httpx.Client(base_url=url, timeout=60) as client:
        responses = [client.post("/segment", **form(case)) for case in CASES]
    assert {response.status_code for response in responses} == {200}
    return [response.json() for response in responses]


@pytest.fixture(scope="module")
def alone() -> list[Answer]:
    """What the single server answers."""
    with running_server() as server:
        return answers_one_by_one(server.url)


@pytest.fixture(scope="module")
def url(alone: list[Answer]) -> Iterator[str]:
    with ray_cluster() as url:
        deploy(build(read_settings({}), replicas=2))
        yield url


def told(answer: Answer) -> Answer:
    """What does not depend on when it was answered."""
    usage = {name: count for name, count in answer["usage"].items() if name != "cached_tokens"}
    kept = ("status", "image", "image_digest", "instances", "reasoning", "text", "model")
    return {name: answer[name] for name in kept} | {"usage": usage}


def test_text_and_masks_are_those_of_the_single_server(url: str, alone: list[Answer]) -> None:
    for answer, expected in zip(answers_one_by_one(url), alone, strict=True):
        assert told(answer) == told(expected)


def test_the_metrics_of_every_replica_are_on_one_page(url: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        text = httpx.get(f"{url}/metrics").text
        found = {
            (name, replica)
            for name, replica in re.findall(r'^(\S+?)\{[^}]*replica="([^"]+)"', text, re.M)
            if name in ("wise_segmenter_worker_up", "vllm:num_requests_running")
        }
        models = {name for name, _ in found}
        if len(models) == 2 and len(found) >= 4:  # two replicas of each
            assert len(found) == 4, found
            return
        assert time.monotonic() < deadline, found
        time.sleep(1)


class Callers:
    """Callers who send one case after another until `end`; every answer is checked."""

    def __init__(self, url: str, alone: list[Answer]) -> None:
        self._url, self._alone = url, alone
        self._ending = asyncio.Event()
        self.answered = 0
        self.refused: list[str] = []

    async def __aenter__(self) -> "Callers":
        limits = httpx.Limits(max_connections=CALLERS)
        self._client = httpx.AsyncClient(base_url=self._url, timeout=WITHIN_S, limits=limits)
        self._tasks = [asyncio.create_task(self._call(number)) for number in range(CALLERS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ending.set()
        await asyncio.gather(*self._tasks)  # raises what a caller found wrong
        await self._client.aclose()

    async def more(self, count: int) -> None:
        """Wait until so many more are answered."""
        until = self.answered + count
        async with asyncio.timeout(WITHIN_S):
            while self.answered < until:
                assert not any(task.done() for task in self._tasks), "a caller has stopped"
                await asyncio.sleep(0.1)

    async def _call(self, number: int) -> None:
        chosen = random.Random(number)
        while not self._ending.is_set():
            index = chosen.randrange(SCENES)
            response = await self._client.post("/segment", **form(CASES[index]))
            if response.status_code == 200:
                self._check(response.json(), self._alone[index])
                self.answered += 1
            else:
                assert response.status_code in (429, 503), response.text
                assert int(response.headers["Retry-After"]) >= 1
                self.refused.append(response.json()["code"])
                await asyncio.sleep(0.2)

    def _check(self, answer: Answer, expected: Answer) -> None:
        """It is this request's answer: no two images have one size."""
        assert answer["image"] == expected["image"]
        assert answer["status"] == expected["status"]
        assert iou(answer, expected) >= SAME_MASK_IOU


async def replaced(deployment: str, gone: int) -> None:
    """Wait until Ray runs two replicas, without the one that was killed."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            pids = [one.pid for one in replica_processes(deployment)]
            if len(pids) >= 2 and gone not in pids:
                return
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("deployment", ["Segmenter", "Reasoner"])
def test_a_replica_killed_under_load_loses_nothing(
    url: str, alone: list[Answer], deployment: str
) -> None:
    async def scenario() -> list[str]:
        async with Callers(url, alone) as callers:
            await callers.more(20)
            [victim, *_] = replica_processes(deployment)
            victim.send_signal(signal.SIGKILL)
            await callers.more(40)
            await replaced(deployment, victim.pid)
            await callers.more(10)
        return callers.refused

    refused = asyncio.run(scenario())
    # A text that had begun cannot be continued elsewhere; an image can be encoded elsewhere.
    assert set(refused) <= ({"reasoner_lost"} if deployment == "Reasoner" else set())
    assert len(refused) <= CALLERS


def test_a_redeploy_under_load_loses_nothing(url: str, alone: list[Answer]) -> None:
    async def scenario() -> list[str]:
        async with Callers(url, alone) as callers:
            await callers.more(10)
            before = {
                one.pid
                for name in ("Ingress", "Reasoner", "Segmenter")
                for one in replica_processes(name)
            }
            changed = build(read_settings({"max_query_characters": 900}), replicas=2)
            await asyncio.to_thread(deploy, changed)
            await callers.more(20)
            after = {
                one.pid
                for name in ("Ingress", "Reasoner", "Segmenter")
                for one in replica_processes(name)
            }
            assert not before & after
            info = await asyncio.to_thread(httpx.get, f"{url}/info")
            assert info.json()["limits"]["max_query_characters"] == 900
        return callers.refused

    assert asyncio.run(scenario()) == []
