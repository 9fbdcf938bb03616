"""Callers and their images for the benchmarks on Ray, and the processor time of Ray's processes."""

import asyncio
import contextlib
import io
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any, Final

import httpx
import numpy as np
import psutil
from PIL import Image

from ray_cluster import APPLICATION

LIMIT_S: Final = 60.0
SIDE_PIXELS: Final = 256
# What a process's command line holds, and what it is called here. "callers" is this process: the
# callers, and Ray's driver, which rests meanwhile.
_KINDS: Final = {
    f"ray::ServeReplica:{APPLICATION}:Ingress": "ingress",
    f"ray::ServeReplica:{APPLICATION}:Reasoner": "reasoner",
    f"ray::ServeReplica:{APPLICATION}:Segmenter": "segmenter",
    "ProxyActor": "proxy",
    "haproxy": "proxy",
}


class Load:
    """Callers in a closed loop for so many seconds; each case is sent once, in turn."""

    def __init__(self, url: str, bodies: Sequence[dict[str, Any]], callers: int) -> None:
        self._url, self._bodies, self._callers = url, bodies, callers
        self.latency_s: list[float] = []
        self.in_time = 0  # answers that came before the time was up
        self.took_s = 0.0

    async def run(self, seconds: float | None = None) -> "Load":
        """Send the bodies again and again for `seconds`; with None, send each body once."""
        limits = httpx.Limits(max_connections=self._callers)
        started = time.perf_counter()
        number = iter(range(10**9))
        async with httpx.AsyncClient(base_url=self._url, timeout=LIMIT_S, limits=limits) as client:

            async def caller() -> None:
                for index in number:
                    if (
                        index >= len(self._bodies)
                        if seconds is None
                        else self._over(started, seconds)
                    ):
                        return
                    sent = time.perf_counter()
                    response = await client.post(
                        "/segment", **self._bodies[index % len(self._bodies)]
                    )
                    response.raise_for_status()
                    self.latency_s.append(time.perf_counter() - sent)
                    self.in_time += seconds is None or not self._over(started, seconds)

            await asyncio.gather(*(caller() for _ in range(self._callers)))
        self.took_s = seconds or time.perf_counter() - started
        return self

    @staticmethod
    def _over(started: float, seconds: float) -> bool:
        return time.perf_counter() - started >= seconds

    @property
    def rate(self) -> float:
        """Answers a second, while all callers were asking."""
        return self.in_time / self.took_s

    def quantile_ms(self, share: float) -> float:
        """A quantile of the latency."""
        return float(np.quantile(self.latency_s, share) * 1000)


class Used:
    """Processor time of this process and all its children from when this is made, by kind."""

    def __init__(self) -> None:
        own = psutil.Process()
        self._kinds = {one: _kind(one) for one in [own, *own.children(recursive=True)]}
        self._before = {one: _processor_s(one) for one in self._kinds}

    def ms_a_request(self, count: int) -> dict[str, float]:
        """Milliseconds by kind of process, `all` of them together. "ray" is what Ray runs besides:
        raylet, GCS, controller, log monitor, agents, and the board of metrics."""
        used: dict[str, float] = defaultdict(float)
        for process, kind in self._kinds.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                used[kind] += (_processor_s(process) - self._before[process]) / count * 1000
        return {**used, "all": sum(used.values())}


def _kind(process: psutil.Process) -> str:
    if process.pid == os.getpid():
        return "callers"
    with contextlib.suppress(psutil.NoSuchProcess):
        command = " ".join(process.cmdline())
        return next((kind for part, kind in _KINDS.items() if part in command), "ray")
    return "ray"


def _processor_s(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        return float(sum(process.cpu_times()[:2]))
    return 0.0


def ratios_in_turn(
    rows: dict[str, list[dict[str, float]]],
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Two sides that were asked in turn, a row for each round. Returns the medians of each side by
    column, and the medians of the rounds' ratios, second to first; a column without ratio had 0."""
    first, second = rows.values()
    medians = {
        name: {column: median(row[column] for row in side) for column in first[0]}
        for name, side in rows.items()
    }
    ratios = {
        column: median(b[column] / a[column] for a, b in zip(first, second, strict=True))
        for column in first[0]
        if all(row[column] for row in first)
    }
    return medians, ratios


def small_images(count: int, seed: int) -> list[dict[str, Any]]:
    """Requests about different images of SIDE_PIXELS."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        data = io.BytesIO()
        Image.fromarray(coarse).resize((SIDE_PIXELS, SIDE_PIXELS)).save(data, "JPEG")
        files = {"image": ("a.jpg", data.getvalue())}
        made.append({"files": files, "data": {"query": "the square"}})
    return made
