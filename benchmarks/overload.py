"""What the server does at five times its capacity: goodput, the time of a refusal, memory.

First its capacity: as many callers as there are slots, each asking again when it is answered. Then
arrivals at --factor times that rate, at random times (Poisson), whether or not anything was
answered. A request's latency counts from the moment at which it was due. One JSON line comes last;
exit status 1 if a promise of docs/operations.md was not kept.
"""

import argparse
import asyncio
import base64
import io
import json
import os
import random
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np

from processes import resident_bytes
from running import RunningServer, running_server
from wise_mini.scenes import draw_scene

REFUSAL_P99_MS: Final = 50.0
GOODPUT_SHARE: Final = 0.9
GROWTH_SHARE: Final = 0.05  # of memory, from the first quarter to the last
_TESTS: Final = Path(__file__).parents[1] / "tests"
_IMAGES: Final = 32
_SAMPLE_EVERY_S: Final = 1.0
_GIVE_UP_S: Final = 180.0
_MIB: Final = 2**20


@dataclass
class Seen:
    """What became of the requests. Latencies are in milliseconds."""

    answered_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    in_time: int = 0  # answered before the offering ended

    def note(self, status: int, took_ms: float, *, in_time: bool) -> None:
        if status == 200:
            self.answered_ms.append(took_ms)
            self.in_time += in_time
        elif status == 429:
            self.refused_ms.append(took_ms)
        else:
            self.others.append(str(status))


def requests(host: str, count: int = _IMAGES) -> list[bytes]:
    """Whole HTTP requests, one for each of `count` scenes of up to 640 pixels."""
    made = []
    for number in range(count):
        out = io.BytesIO()
        scene = draw_scene(np.random.default_rng([9_000_000, number]), max_side=640)
        scene.image.save(out, "JPEG", quality=90)
        image = base64.b64encode(out.getvalue()).decode()
        body = json.dumps({"image": image, "query": "the red circle"}).encode()
        head = f"POST /segment HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        made.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return made


async def ask(url: str, request: bytes) -> int:
    """Send on a connection of its own; the status, once the whole answer is here."""
    place = urlsplit(url)
    async with asyncio.timeout(_GIVE_UP_S):
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            await reader.readexactly(int(found[1]) if found else 0)
            return int(head.split(b" ", 2)[1])
        finally:
            writer.close()


async def capacity(url: str, bodies: Sequence[bytes], slots: int, seconds: float) -> float:
    """Answers a second when every slot is always taken and nobody waits."""
    for body in bodies:  # so that both phases find the same caches
        assert await ask(url, body) == 200
    began, answered = time.perf_counter(), 0

    async def caller(generator: random.Random) -> None:
        nonlocal answered
        while time.perf_counter() - began < seconds:
            assert await ask(url, generator.choice(bodies)) == 200
            answered += 1

    await asyncio.gather(*(caller(random.Random(number)) for number in range(slots)))
    return answered / (time.perf_counter() - began)


async def offer(url: str, bodies: Sequence[bytes], rate: float, seconds: float) -> Seen:
    """Open loop: `rate` arrivals a second for `seconds`; returns when all are answered."""
    generator, seen, tasks = random.Random(0), Seen(), set[asyncio.Task[None]]()
    began = due = time.perf_counter()

    async def one(due: float, body: bytes) -> None:
        try:
            status = await ask(url, body)
        except (OSError, EOFError, TimeoutError) as error:
            seen.others.append(type(error).__name__)
        else:
            now = time.perf_counter()
            seen.note(status, (now - due) * 1000, in_time=now < began + seconds)

    while (due := due + generator.expovariate(rate)) < began + seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.create_task(one(due, generator.choice(bodies)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return seen


async def watch(pid: int, times: list[float], sizes: list[float]) -> None:
    """Append the tree's resident memory, MiB, each second."""
    while True:
        times.append(time.perf_counter())
        sizes.append(await asyncio.to_thread(resident_bytes, pid) / _MIB)
        await asyncio.sleep(_SAMPLE_EVERY_S)


def counter(url: str, name: str) -> float:
    """The sum of a metric's series."""
    with urlopen(f"{url}/metrics", timeout=30) as response:
        lines = response.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


async def measure(
    server: RunningServer, *, slots: int, factor: float, capacity_s: float, seconds: float
) -> dict[str, Any]:
    """Both phases. `slots`: those of the server."""
    bodies = requests(urlsplit(server.url).netloc)
    peak = await capacity(server.url, bodies, slots, capacity_s)
    decoded = counter(server.url, "wise_image_pixels_count")
    times, sizes = list[float](), list[float]()
    watching = asyncio.create_task(watch(server.pid, times, sizes))
    seen = await offer(server.url, bodies, peak * factor, seconds)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    decoded = counter(server.url, "wise_image_pixels_count") - decoded
    return report(peak, seen, decoded, seconds) | memory(times, sizes)


def report(peak: float, seen: Seen, decoded: float, seconds: float) -> dict[str, Any]:
    goodput = seen.in_time / seconds
    return {
        "seconds": seconds,
        "peak_per_s": round(peak, 2),
        "offered": len(seen.answered_ms) + len(seen.refused_ms) + len(seen.others),
        "answered": len(seen.answered_ms),
        "refused": len(seen.refused_ms),
        "others": sorted(seen.others)[:20],
        "images_decoded": int(decoded),
        "goodput_per_s": round(goodput, 2),
        "goodput_share": round(goodput / peak, 3),
        "refusal_p50_ms": _quantile(seen.refused_ms, 0.5),
        "refusal_p99_ms": _quantile(seen.refused_ms, 0.99),
        "answer_p50_ms": _quantile(seen.answered_ms, 0.5),
        "answer_p99_ms": _quantile(seen.answered_ms, 0.99),
    }


def memory(times: Sequence[float], sizes: Sequence[float]) -> dict[str, Any]:
    """Memory over time, without the first tenth, in which buffers take their size."""
    skipped = len(times) // 10
    times, sizes = times[skipped:], sizes[skipped:]
    quarter = max(1, len(sizes) // 4)
    first, last = (sum(part) / quarter for part in (sizes[:quarter], sizes[-quarter:]))
    return {
        "rss_first_quarter_mib": round(first, 1),
        "rss_last_quarter_mib": round(last, 1),
        "rss_growth_share": round(last / first - 1, 4),
        "rss_slope_mib_per_min": round(float(np.polyfit(times, sizes, 1)[0]) * 60, 3),
    }


def _quantile(values: Sequence[float], share: float) -> float | None:
    return round(float(np.quantile(values, share)), 2) if values else None


def broken(result: dict[str, Any]) -> list[str]:
    """The promises that were not kept."""
    kept = {
        "all was answered or refused": not result["others"],
        "no image of a refused request was decoded": result["images_decoded"] == result["answered"],
        "goodput": result["goodput_share"] >= GOODPUT_SHARE,
        "a refusal's time": (result["refusal_p99_ms"] or 0) < REFUSAL_P99_MS,
        "memory": result["rss_growth_share"] < GROWTH_SHARE,
    }
    return [name for name, value in kept.items() if not value]


@contextmanager
def server_with(slots: int, queue: int, *, fakes: bool) -> Iterator[RunningServer]:
    """The real server, or the fakes with 5 ms a token."""
    limits = {"WISE_MAX_INFLIGHT_REQUESTS": str(slots), "WISE_MAX_QUEUED_REQUESTS": str(queue)}
    script = _TESTS / "process" / "serve_fakes.py" if fakes else None
    paths = os.pathsep.join([str(_TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    own = {"PYTHONPATH": paths, "DELAY_S": "0.005"} if fakes else {}
    with running_server(script=script, **own, **limits) as server:
        yield server


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of overload (default: 60)")
    parser.add_argument("--capacity-seconds", type=float, default=20.0, help="default: 20")
    parser.add_argument("--factor", type=float, default=5.0, help="times the capacity (default: 5)")
    parser.add_argument("--slots", type=int, default=8, help="of the server (default: 8)")
    parser.add_argument("--queue", type=int, default=8, help="of the server (default: 8)")
    parser.add_argument("--fakes", action="store_true", help="the gateway alone, on fake models")
    args = parser.parse_args()
    with server_with(args.slots, args.queue, fakes=args.fakes) as server:
        result = asyncio.run(
            measure(
                server,
                slots=args.slots,
                factor=args.factor,
                capacity_s=args.capacity_seconds,
                seconds=args.seconds,
            )
        )
    result |= {"factor": args.factor, "slots": args.slots, "queue": args.queue, "fakes": args.fakes}
    result["broken"] = broken(result)
    print(json.dumps(result))
    return int(bool(result["broken"]))


if __name__ == "__main__":
    sys.exit(main())
