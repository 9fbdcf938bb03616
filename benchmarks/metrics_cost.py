"""How much time a request spends on metrics: gateways on fake models, with and without metrics.

Two gateways answer the same request in turn; one of them has metrics that do nothing. The cost is
the difference of their medians. It is compared with the latency of a request whose models need
--reason-ms, far less than any real reasoner. Prints one JSON line last. The exit status is 1 if the
share is 1 % or more.
"""

import argparse
import asyncio
import io
import json
import random
import statistics
import sys
import time
from contextlib import AsyncExitStack

import httpx
import numpy as np
from PIL import Image

from fakes import FOUND, FakeReasoner, FakeSegmenter, tokens_of
from wise_serve.http.app import build_app
from wise_serve.observe.metrics import Metrics
from wise_serve.pipeline.runtime import build_runtime
from wise_serve.reasoner.strategies import STRATEGIES
from wise_serve.segmenter.supervisor.observer import Silent
from wise_serve.settings import Settings

LIMIT = 0.01
WARM_UP = 20


class Nothing:
    """Stands in for a counter, gauge or histogram."""

    def labels(self, *_: str) -> "Nothing":
        """Itself, whatever the labels."""
        return self

    def inc(self, amount: float = 1) -> None:
        """Ignored."""

    def observe(self, amount: float) -> None:
        """Ignored."""

    def set_function(self, function: object) -> None:
        """Ignored."""


class NoMetrics(Metrics):
    """Every recorder is replaced by one that does nothing."""

    def __init__(self) -> None:
        super().__init__()
        for name in list(vars(self)):
            if name not in ("registry", "segmenter"):
                setattr(self, name, Nothing())


def picture() -> bytes:
    """640 x 480 pixels, JPEG."""
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).resize((640, 480)).save(out, "JPEG")
    return out.getvalue()


async def client_of(stack: AsyncExitStack, metrics: Metrics, delay_s: float) -> httpx.AsyncClient:
    """A client of a gateway of its own, in this process."""
    silent = isinstance(metrics, NoMetrics)
    segmenter = FakeSegmenter(observer=Silent() if silent else metrics.segmenter.worker("0"))
    reasoner = FakeReasoner(delay_s=delay_s)
    runtime = build_runtime(Settings(), STRATEGIES, reasoner, segmenter, metrics)
    app = build_app(runtime)
    ready = asyncio.Event()
    runtime.lifecycle.on_ready = ready.set
    await stack.enter_async_context(app.router.lifespan_context(app))
    await ready.wait()
    transport = httpx.ASGITransport(app)
    return await stack.enter_async_context(
        httpx.AsyncClient(transport=transport, base_url="http://gateway")
    )


async def timed(client: httpx.AsyncClient, image: bytes) -> float:
    """One request, milliseconds."""
    begun = time.perf_counter()
    answer = await client.post("/segment", files={"image": image}, data={"query": "the circle"})
    took_ms = (time.perf_counter() - begun) * 1000
    assert answer.json()["status"] == "found"
    return took_ms


async def measure(pairs: int, reason_ms: float) -> dict[str, float]:
    """Time requests with and without metrics, in pairs; `reason_ms`: the fake reasoner's time."""
    image, order = picture(), random.Random(0)
    times: dict[str, list[float]] = {"with": [], "without": []}
    async with AsyncExitStack() as stack:
        clients = {
            "with": await client_of(stack, Metrics(), 0.0),
            "without": await client_of(stack, NoMetrics(), 0.0),
        }
        for number in range(pairs + WARM_UP):
            for name in order.sample(sorted(clients), 2):
                took_ms = await timed(clients[name], image)
                if number >= WARM_UP:
                    times[name].append(took_ms)
        delay_s = reason_ms / 1000 / len(tokens_of(FOUND))
        slower = await client_of(stack, Metrics(), delay_s)
        latency_ms = statistics.median([await timed(slower, image) for _ in range(20)])
    medians = {name: statistics.median(values) for name, values in times.items()}
    cost_ms = medians["with"] - medians["without"]
    return {
        "cost_us": round(cost_ms * 1000, 1),
        "bare_latency_ms": round(medians["without"], 3),
        "latency_ms": round(latency_ms, 2),
        "share": round(cost_ms / latency_ms, 5),
        "share_of_bare": round(cost_ms / medians["without"], 4),
    }


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=500, help="requests to each (default: 500)")
    parser.add_argument("--reason-ms", type=float, default=100.0, help="of the slower reasoner")
    args = parser.parse_args()
    result = asyncio.run(measure(args.pairs, args.reason_ms))
    print(f"metrics cost {result['cost_us']} us a request, {result['share']:.3%} of its latency")
    print(json.dumps({"pairs": args.pairs, "reason_ms": args.reason_ms, **result}))
    return int(result["share"] >= LIMIT)


if __name__ == "__main__":
    sys.exit(main())
