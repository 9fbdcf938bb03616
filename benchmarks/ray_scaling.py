"""What Ray Serve costs, and how far it scales: two measurements, one after the other.

1. Scaling, with stand-ins that sleep in place of the models (`ray_stand_ins`: 60 ms an answer, 20
   ms an image, one at a time in each replica; then ten times as slow), so that the machine's cores
   do not limit the models. For 1, 2, 4 and 8 replicas of each: answers a second against N times
   what one replica can do, and the processor time of ingress, proxy and replicas for each request,
   from which their own limits follow. Images of SIDE_PIXELS: what larger ones cost to decode is no
   question to Ray.
2. Cost, with the packaged miniature: the single server and the same on Ray, one after the other in
   one run, the same scenes, one caller and several.

    make ray-scaling

Callers share the machine with what they measure. The last line is one JSON object.
"""

import argparse
import asyncio
import io
import itertools
import json
import time
from collections.abc import Sequence
from typing import Any, Final

import httpx
import numpy as np
import psutil
from PIL import Image

from load import make_cases
from ray_cluster import APPLICATION, deploy, ray_cluster, replica_processes
from ray_stand_ins import (
    ENCODE_S,
    REASON_S,
    TenfoldReasonerReplica,
    TenfoldSegmenterReplica,
    TimedReasonerReplica,
    TimedSegmenterReplica,
)
from running import running_server
from wise_serve.ray.application import INGRESS, REASONER, SEGMENTER, app, build, read_settings

REPLICAS: Final = (1, 2, 4, 8)
CALLERS_A_REPLICA: Final = 6  # enough waiting at each that none is idle
SECONDS: Final = 15.0
SCENES: Final = 60
LIMIT_S: Final = 60.0
SLOTS: Final = 128  # requests at once in the ingress, above all callers
SIDE_PIXELS: Final = 256
_PACES: Final = {
    1: (TimedReasonerReplica, TimedSegmenterReplica),
    10: (TenfoldReasonerReplica, TenfoldSegmenterReplica),
}


class Load:
    """Callers in a closed loop for so many seconds; each case is sent once, in turn."""

    def __init__(self, url: str, bodies: Sequence[dict[str, Any]], callers: int) -> None:
        self._url, self._bodies, self._callers = url, bodies, callers
        self.latency_s: list[float] = []
        self.in_time = 0  # of them, those that came before the time was up
        self.took_s = 0.0

    async def run(self, seconds: float | None = None) -> "Load":
        """Until `seconds` have passed, the bodies again and again; None: each body once."""
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
        """Of the latency."""
        return float(np.quantile(self.latency_s, share) * 1000)


def processor_s(processes: Sequence[psutil.Process]) -> float:
    """Processor time that they have used, seconds."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def proxies() -> list[psutil.Process]:
    """Ray's HTTP proxies."""
    children = psutil.Process().children(recursive=True)
    return [one for one in children if "ProxyActor" in " ".join(one.cmdline())]


def bodies(count: int, seed: int) -> list[dict[str, Any]]:
    """Requests about different images."""
    return [
        {"files": {"image": ("a.jpg", case.image)}, "data": {"query": case.query}}
        for case in make_cases(count, seed)
    ]


def scaling(url: str, slower: int, replicas: int, seconds: float) -> dict[str, float]:
    """Stand-ins: one row of the table."""
    settings = read_settings({"max_inflight_requests": SLOTS})
    deploy(build(settings, *_PACES[slower], replicas))
    callers = CALLERS_A_REPLICA * replicas
    fresh = small_images(400, replicas)
    asyncio.run(Load(url, fresh[:callers], callers).run())  # connections, routes, queue lengths
    parts = {
        "ingress": replica_processes(INGRESS),
        "proxy": proxies(),
        "models": replica_processes(REASONER) + replica_processes(SEGMENTER),
    }
    before = {name: processor_s(processes) for name, processes in parts.items()}
    load = asyncio.run(Load(url, fresh, callers).run(seconds))
    count = len(load.latency_s)
    used = {
        f"{name}_cpu_ms": (processor_s(processes) - before[name]) / count * 1000
        for name, processes in parts.items()
    }
    return {
        "slower": slower,
        "replicas": replicas,
        "callers": callers,
        "rate": load.rate,
        "of_ideal": load.rate * REASON_S * slower / replicas,
        "p50_ms": load.quantile_ms(0.5),
        "p99_ms": load.quantile_ms(0.99),
        **used,
    }


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


def at_rest(url: str) -> dict[str, float]:
    """Stand-ins: what ingress and Ray add to an answer when nothing waits."""
    load = asyncio.run(Load(url, small_images(60, 99), 1).run())
    return {"p50_ms": load.quantile_ms(0.5), "added_ms": load.quantile_ms(0.5) - REASON_S * 1000}


def miniature(url: str) -> dict[str, float]:
    """One caller, then eight, the same scenes each time."""
    asyncio.run(Load(url, bodies(8, 7), 2).run())
    alone = asyncio.run(Load(url, bodies(SCENES, 8), 1).run())
    many = asyncio.run(Load(url, bodies(2 * SCENES, 9), 8).run())
    return {
        "one_caller_p50_ms": alone.quantile_ms(0.5),
        "eight_callers_rate": many.rate,
        "eight_callers_p50_ms": many.quantile_ms(0.5),
    }


def main() -> None:
    """Measure, print as it goes, and all of it in the last line."""
    parser = argparse.ArgumentParser(description="What Ray Serve costs, and how far it scales.")
    parser.add_argument("--part", choices=["scaling", "miniature", "both"], default="both")
    parser.add_argument("--slower", type=int, choices=_PACES, nargs="+", default=[*_PACES])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each row; default: 15")
    args = parser.parse_args()
    part = args.part
    result: dict[str, Any] = {"reason_ms": REASON_S * 1000, "encode_ms": ENCODE_S * 1000}
    if part != "miniature":
        with ray_cluster(cpus=32) as url:
            result["scaling"] = []
            for slower, replicas in itertools.product(args.slower, REPLICAS):
                result["scaling"].append(scaling(url, slower, replicas, args.seconds))
                print(json.dumps(result["scaling"][-1]), flush=True)
                if (slower, replicas) == (1, 1):
                    result["at_rest"] = at_rest(url)
                    print(json.dumps(result["at_rest"]), flush=True)
    if part != "scaling":
        with running_server() as server:
            result["single_server"] = miniature(server.url)
        print(json.dumps(result["single_server"]), flush=True)
        with ray_cluster() as url:
            deploy(app({}))
            result["on_ray"] = miniature(url)
    print(json.dumps({"benchmark": "ray_scaling", "application": APPLICATION, **result}))


if __name__ == "__main__":
    main()
