"""What the server does at five times its capacity: goodput, the time of a refusal, memory.

First it measures the capacity: as many callers as slots, each of which asks again when it has its
answer. Then requests arrive at --factor times that rate, at random times (Poisson), independent of
the answers. A request's latency is measured from the time at which it was due. The images are used
in turn; there are so many, and the caches are so small, that an image is no longer cached when it
is used again. With --repeated only a few images are used, which stay in the caches. Prints one JSON
line
last. The exit status is 1 if a promise of docs/operations.md is broken.
"""

import argparse
import asyncio
import itertools
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np

from overload_traffic import Seen, capacity, offer, requests
from processes import resident_bytes
from running import READY_WITHIN_S, RunningServer, running_server

REFUSAL_P99_MS: Final = 50.0
GOODPUT_SHARE: Final = 0.9
GROWTH_SHARE: Final = 0.05  # most growth of memory, from the first quarter to the last
_TESTS: Final = Path(__file__).parents[1] / "tests"
_UNSEEN: Final = 1000  # images; a fifth of them are admitted before an image comes again
_REPEATED: Final = 32
_SMALL_CACHES: Final = {  # about fifty images
    "WISE_EMBEDDING_CACHE_BYTES": str(8 * 2**20),
    "WISE_ENGINE_IMAGE_CACHE_BYTES": str(16 * 2**20),
    "WISE_KV_CACHE_BYTES": str(32 * 2**20),
}
_SAMPLE_EVERY_S: Final = 1.0
_COUNTED: Final = {
    "decoded": "wise_image_pixels_count",
    "known": 'wise_embedding_cache_total{result="hit"}',
}
_MIB: Final = 2**20


async def watch(pid: int, times: list[float], sizes: list[float]) -> None:
    """Append the resident memory of the server's processes, MiB, each second."""
    while True:
        times.append(time.perf_counter())
        sizes.append(await asyncio.to_thread(resident_bytes, pid) / _MIB)
        await asyncio.sleep(_SAMPLE_EVERY_S)


def counters(url: str) -> Counter[str]:
    """Images decoded, and embeddings found in the cache, since the server's start."""
    with urlopen(f"{url}/metrics", timeout=30) as response:
        lines = response.read().decode().splitlines()
    counts = Counter[str]()
    for line in lines:
        for name, series in _COUNTED.items():
            if line.startswith(series):
                counts[name] += int(float(line.rpartition(" ")[2]))
    return counts


async def measure(
    server: RunningServer,
    *,
    images: int,
    slots: int,
    factor: float,
    capacity_s: float,
    seconds: float,
) -> dict[str, Any]:
    """Run both phases. `images` are used in turn. `slots`: of the server."""
    bodies = itertools.cycle(requests(urlsplit(server.url).netloc, images))
    peak = await capacity(server.url, bodies, slots, capacity_s)
    before = counters(server.url)
    times, sizes = list[float](), list[float]()
    watching = asyncio.create_task(watch(server.pid, times, sizes))
    seen = await offer(server.url, bodies, peak * factor, seconds)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    counted = counters(server.url) - before
    return report(peak, seen, counted, seconds) | memory(times, sizes)


def report(peak: float, seen: Seen, counted: Counter[str], seconds: float) -> dict[str, Any]:
    """The figures of an overload run, as the last line shows them."""
    goodput = seen.in_time / seconds
    return {
        "seconds": seconds,
        "peak_per_s": round(peak, 2),
        "offered": len(seen.answered_ms) + len(seen.refused_ms) + len(seen.others),
        "answered": len(seen.answered_ms),
        "refused": len(seen.refused_ms),
        "others": sorted(seen.others)[:20],
        "images_decoded": counted["decoded"],
        "images_known": counted["known"],
        "goodput_per_s": round(goodput, 2),
        "goodput_share": round(goodput / peak, 3),
        "refusal_p50_ms": _quantile(seen.refused_ms, 0.5),
        "refusal_p99_ms": _quantile(seen.refused_ms, 0.99),
        "answer_p50_ms": _quantile(seen.answered_ms, 0.5),
        "answer_p99_ms": _quantile(seen.answered_ms, 0.99),
    }


def memory(times: Sequence[float], sizes: Sequence[float]) -> dict[str, Any]:
    """Memory over time, without the first tenth, in which buffers grow to their size."""
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
    """The promises that were broken."""
    kept = {
        "all was answered or refused": not result["others"],
        "no image of a refused request was decoded": result["images_decoded"] == result["answered"],
        "goodput": result["goodput_share"] >= GOODPUT_SHARE,
        "a refusal's time": (result["refusal_p99_ms"] or 0) < REFUSAL_P99_MS,
        "memory": result["rss_growth_share"] < GROWTH_SHARE,
    }
    return [name for name, value in kept.items() if not value]


@contextmanager
def server_with(
    slots: int, queue: int, *, fakes: bool = False, repeated: bool = False
) -> Iterator[RunningServer]:
    """The real server, or the fakes with 5 ms a token."""
    caches = {} if repeated else _SMALL_CACHES
    limits = {"WISE_MAX_INFLIGHT_REQUESTS": str(slots), "WISE_MAX_QUEUED_REQUESTS": str(queue)}
    script = _TESTS / "process" / "server" / "serve_fakes.py" if fakes else None
    paths = os.pathsep.join([str(_TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    own = {"PYTHONPATH": paths, "DELAY_S": "0.005"} if fakes else {}
    environment = {**own, **limits, **caches}
    with running_server(script=script, ready_within_s=READY_WITHIN_S, **environment) as server:
        yield server


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of overload (default: 60)")
    parser.add_argument("--capacity-seconds", type=float, default=20.0, help="default: 20")
    parser.add_argument("--factor", type=float, default=5.0, help="times the capacity (default: 5)")
    parser.add_argument("--slots", type=int, default=8, help="of the server (default: 8)")
    parser.add_argument("--queue", type=int, default=8, help="of the server (default: 8)")
    parser.add_argument("--repeated", action="store_true", help=f"{_REPEATED} images only, cached")
    parser.add_argument("--fakes", action="store_true", help="the gateway alone, on fake models")
    args = parser.parse_args()
    images = _REPEATED if args.repeated else _UNSEEN
    with server_with(args.slots, args.queue, fakes=args.fakes, repeated=args.repeated) as server:
        result = asyncio.run(
            measure(
                server,
                images=images,
                slots=args.slots,
                factor=args.factor,
                capacity_s=args.capacity_seconds,
                seconds=args.seconds,
            )
        )
    result |= {"factor": args.factor, "slots": args.slots, "queue": args.queue}
    result |= {"fakes": args.fakes, "repeated": args.repeated}
    result["broken"] = broken(result)
    print(json.dumps(result))
    return int(bool(result["broken"]))


if __name__ == "__main__":
    sys.exit(main())
