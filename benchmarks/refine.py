"""Click to mask: `POST /refine` with the image and on a known image, 1 and 16 in flight.

    python benchmarks/refine.py

Starts `wise-serve serve --reasoner none`, or measures the server at `--url`. Prints p50 and p95 in
milliseconds, the bytes of a request's body, and the encode that the server reports, for each; then
the same for the Python client, whose first click on an image sends it and whose second does not.
One line of JSON last.
"""

import argparse
import io
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import numpy as np

from miniature.scenes import Scene, draw_scene
from running import running_server
from wise_client import Client

_SEED = 40_000
_SENT = 50  # images for each figure: as many as the server's cache can hold
_SERVER = ("--reasoner", "none")
Click = Callable[[int], tuple[float, int, float]]
"""Number of a click -> its milliseconds, the bytes that were sent, the server's encode in ms."""


def point(scene: Scene, number: int) -> tuple[int, int]:
    """Another place each time."""
    return (number * 37) % scene.image.width, (number * 53) % scene.image.height


def jpeg(scene: Scene) -> bytes:
    """The scene as a JPEG."""
    file = io.BytesIO()
    scene.image.save(file, "JPEG", quality=90)
    return file.getvalue()


def body(image: bytes | str, at: tuple[int, int]) -> dict[str, Any]:
    """What httpx sends for one click. `image`: a file, or the digest of a known one."""
    prompts = [{"points": [{"x": at[0], "y": at[1], "label": 1}]}]
    if isinstance(image, str):
        return {"json": {"image_digest": image, "prompts": prompts}}
    return {"files": {"image": image}, "data": {"prompts": json.dumps(prompts)}}


def plain(client: httpx.Client, bodies: Sequence[dict[str, Any]]) -> Click:
    """Clicks as any HTTP client sends them."""

    def click(number: int) -> tuple[float, int, float]:
        request = client.build_request("POST", "/refine", **bodies[number])
        size = len(request.read())
        begun = time.perf_counter()
        answer = client.send(request).raise_for_status().json()
        return (time.perf_counter() - begun) * 1e3, size, answer["timing_ms"]["encode"]

    return click


class Counting(httpx.HTTPTransport):
    """Counts the bytes of the bodies that it sends."""

    sent_bytes = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Count, and send."""
        self.sent_bytes += len(request.read())
        return super().handle_request(request)


def of_client(client: Client, transport: Counting, scenes: Sequence[Scene]) -> Click:
    """Clicks by the Python client, which knows by itself what it has sent."""
    images = [jpeg(scene) for scene in scenes]

    def click(number: int) -> tuple[float, int, float]:
        before, begun = transport.sent_bytes, time.perf_counter()
        found = client.refine(images[number], points=[point(scenes[number], number)])
        took_ms = (time.perf_counter() - begun) * 1e3
        return took_ms, transport.sent_bytes - before, found.timing.encode_ms

    return click


def measure(click: Click, count: int, inflight: int = 1) -> dict[str, float]:
    """`count` clicks, `inflight` at once."""
    with ThreadPoolExecutor(inflight) as pool:
        took, sizes, encodes = zip(*pool.map(click, range(count)), strict=True)
    return {
        "p50_ms": round(float(np.percentile(took, 50)), 1),
        "p95_ms": round(float(np.percentile(took, 95)), 1),
        "request_bytes": round(float(np.mean(sizes))),
        "encode_ms": round(float(np.mean(encodes)), 2),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="a running server; default: start one")
    parser.add_argument("--clicks", type=int, default=200, help="on the known image")
    arguments = parser.parse_args()
    scenes = [draw_scene(np.random.default_rng(_SEED + i)) for i in range(3 * _SENT + 1)]
    one, *others = scenes
    figures: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        url = arguments.url or stack.enter_context(running_server(*_SERVER)).url
        client = stack.enter_context(httpx.Client(base_url=url, timeout=60))
        first = client.post("/refine", **body(jpeg(one), (1, 1))).raise_for_status().json()
        for index, inflight in enumerate((1, 16)):
            clicks = [point(one, number) for number in range(arguments.clicks)]
            known = [body(first["image_digest"], click) for click in clicks]
            figures[f"known_{inflight}"] = measure(plain(client, known), len(known), inflight)
            fresh = others[index * _SENT : (index + 1) * _SENT]
            sent = [body(jpeg(scene), point(scene, at)) for at, scene in enumerate(fresh)]
            figures[f"sent_{inflight}"] = measure(plain(client, sent), _SENT, inflight)
        transport = Counting()
        sdk = stack.enter_context(Client(url, transport=transport))
        click = of_client(sdk, transport, others[2 * _SENT :])
        figures["client_first"] = measure(click, _SENT)
        figures["client_second"] = measure(click, _SENT)
    for name, row in figures.items():
        print(name, row)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
