"""Sends load to a running server through the client, in a closed or an open loop, and times it."""

import asyncio
import io
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from miniature.scenes import Shape
from quality import fresh_scenes
from wise_client import AsyncClient, Segmentation

JPEG_QUALITY = 90
OTHER_QUERY = "the largest shape"  # every scene has an answer to this one
MAX_CONNECTIONS = 1024


@dataclass(frozen=True)
class Case:
    """An encoded image (JPEG) and a query about it."""

    image: bytes
    query: str


@dataclass(frozen=True)
class Run:
    """answers in the order of the cases; latency_s of each; took_s: all of them."""

    answers: list[Any]
    latency_s: list[float]
    took_s: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.answers) / self.took_s

    def quantile_ms(self, share: float) -> float:
        """A quantile of the latencies, ms; `share`: 0 to 1."""
        return float(np.quantile(self.latency_s, share) * 1000)


def make_cases(count: int, seed: int, quality: int = JPEG_QUALITY) -> list[Case]:
    """Scenes of the whole domain, one query each; no image occurs twice, for all seeds.

    Another JPEG quality gives the same scenes with different pixels, which are in no cache.
    """
    return [case for case, _ in make_scenes(count, seed, quality)]


def make_scenes(
    count: int, seed: int, quality: int = JPEG_QUALITY
) -> list[tuple[Case, list[Shape]]]:
    """The same cases, each with the indices of the shapes that its query means."""
    scenes = []
    for scene, query in fresh_scenes(count, 500_000 + seed):
        out = io.BytesIO()
        scene.image.save(out, "JPEG", quality=quality)
        meant = [scene.shapes[index] for index in query.targets]
        scenes.append((Case(out.getvalue(), query.text), meant))
    return scenes


Ask = Callable[[AsyncClient, Case], Awaitable[Any]]


async def ask_once(client: AsyncClient, case: Case) -> Segmentation:
    """Ask the case's query, with the server's default strategy."""
    return await client.segment(case.image, case.query)


def ask_with(strategy: Any) -> Ask:
    """The case's query, by the strategy of that name."""

    async def ask(client: AsyncClient, case: Case) -> Segmentation:
        return await client.segment(case.image, case.query, strategy=strategy)

    return ask


def closed_loop(url: str, cases: Sequence[Case], in_flight: int, ask: Ask = ask_once) -> Run:
    """Ask in a closed loop: each caller asks again as soon as it has its answer."""

    async def run() -> Run:
        answers: list[Any] = [None] * len(cases)
        latency_s = [0.0] * len(cases)
        waiting = iter(enumerate(cases))
        async with AsyncClient(url, max_connections=MAX_CONNECTIONS) as client:

            async def caller() -> None:
                for place, case in waiting:
                    begun = time.perf_counter()
                    answers[place] = await ask(client, case)
                    latency_s[place] = time.perf_counter() - begun

            begun = time.perf_counter()
            await asyncio.gather(*(caller() for _ in range(in_flight)))
            return Run(answers, latency_s, time.perf_counter() - begun)

    return asyncio.run(run())


def open_loop(url: str, cases: Sequence[Case], rate: float, seed: int) -> Run:
    """Ask in an open loop: Poisson arrivals, `rate` per second, independent of the answers."""

    async def run() -> Run:
        gaps = random.Random(seed)
        async with AsyncClient(url, max_connections=MAX_CONNECTIONS) as client:

            async def one(case: Case) -> tuple[Any, float]:
                begun = time.perf_counter()
                answer = await ask_once(client, case)
                return answer, time.perf_counter() - begun

            begun, due = time.perf_counter(), 0.0
            tasks = []
            for case in cases:
                due += gaps.expovariate(rate)
                await asyncio.sleep(max(0.0, begun + due - time.perf_counter()))
                tasks.append(asyncio.create_task(one(case)))
            done = await asyncio.gather(*tasks)
            took_s = time.perf_counter() - begun
        return Run([answer for answer, _ in done], [s for _, s in done], took_s)

    return asyncio.run(run())
