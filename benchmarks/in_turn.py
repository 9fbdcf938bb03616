"""Two servers that run side by side and are asked in turn, so that both meet the same machine."""

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, Final

import httpx
import numpy as np

from load import JPEG_QUALITY, make_cases

LIMIT_S: Final = 60.0
SCENES: Final = 30  # of one caller in each round; eight callers get twice as many


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

        def in_time() -> bool:
            return seconds is None or time.perf_counter() - started < seconds

        bodies = self._bodies if seconds is None else itertools.cycle(self._bodies)
        to_send = itertools.takewhile(lambda _: in_time(), bodies)  # all callers draw from it
        async with httpx.AsyncClient(base_url=self._url, timeout=LIMIT_S, limits=limits) as client:

            async def caller() -> None:
                for body in to_send:
                    sent = time.perf_counter()
                    (await client.post("/segment", **body)).raise_for_status()
                    self.latency_s.append(time.perf_counter() - sent)
                    self.in_time += in_time()

            await asyncio.gather(*(caller() for _ in range(self._callers)))
        self.took_s = seconds or time.perf_counter() - started
        return self

    @property
    def rate(self) -> float:
        """Answers a second, while all callers were asking."""
        return self.in_time / self.took_s

    def quantile_ms(self, share: float) -> float:
        """A quantile of the latency."""
        return float(np.quantile(self.latency_s, share) * 1000)


def bodies(count: int, seed: int, quality: int) -> list[dict[str, Any]]:
    """Requests about different scenes, as JPEG files of this quality."""
    return [
        {"files": {"image": ("a.jpg", case.image)}, "data": {"query": case.query}}
        for case in make_cases(count, seed, quality)
    ]


def in_turn(urls: dict[str, str], rounds: int, show: Callable[[Any], None]) -> dict[str, Any]:
    """The latency of one caller and the rate of eight, at both addresses, `rounds` times in turn,
    the same scenes for both; `ratio` has the medians of the rounds' ratios, second to first.

    The files of the two differ in their JPEG quality by 1: both addresses may lead to one server,
    which must not know the second one's images from the first."""
    ways = [(name, url, JPEG_QUALITY - number) for number, (name, url) in enumerate(urls.items())]
    for _, url, quality in ways:
        asyncio.run(Load(url, bodies(16, 7, quality), 2).run())
    found: dict[str, list[dict[str, float]]] = {name: [] for name in urls}
    for number in range(rounds):
        for name, url, quality in ways:
            alone = asyncio.run(Load(url, bodies(SCENES, 100 + number, quality), 1).run())
            many = asyncio.run(Load(url, bodies(2 * SCENES, 200 + number, quality), 8).run())
            row = {"one_caller_p50_ms": alone.quantile_ms(0.5), "eight_callers_rate": many.rate}
            found[name].append(row)
            show({name: row})
    medians, ratios = ratios_in_turn(found)
    return {"medians": medians, "ratio": ratios, "rounds": found}


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
