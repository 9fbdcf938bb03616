"""Click to mask: `POST /refine` with the image and on a known image, 1 and 16 in flight.

    wise-serve serve --reasoner none &
    python benchmarks/refine.py --url http://127.0.0.1:8000

Prints p50 and p95 in milliseconds, the bytes of a request's body, and the encode that the server
reports, for each; one line of JSON last.
"""

import argparse
import io
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np

from miniature.scenes import draw_scene


def body(scene: Any, number: int, digest: str | None) -> dict[str, Any]:
    """What httpx sends for one click: another place each time."""
    x, y = (number * 37) % scene.image.width, (number * 53) % scene.image.height
    prompts = [{"points": [{"x": x, "y": y, "label": 1}]}]
    if digest is not None:
        return {"json": {"image_digest": digest, "prompts": prompts}}
    file = io.BytesIO()
    scene.image.save(file, "JPEG", quality=90)
    return {"files": {"image": file.getvalue()}, "data": {"prompts": json.dumps(prompts)}}


def measure(client: httpx.Client, bodies: list[dict[str, Any]], inflight: int) -> dict[str, float]:
    """Send all, `inflight` at once."""

    def one(content: dict[str, Any]) -> tuple[float, int, float]:
        request = client.build_request("POST", "/refine", **content)
        size = len(request.read())
        begun = time.perf_counter()
        answer = client.send(request).raise_for_status().json()
        return (time.perf_counter() - begun) * 1e3, size, answer["timing_ms"]["encode"]

    with ThreadPoolExecutor(inflight) as pool:
        took, sizes, encodes = zip(*pool.map(one, bodies), strict=True)
    return {
        "p50_ms": round(float(np.percentile(took, 50)), 1),
        "p95_ms": round(float(np.percentile(took, 95)), 1),
        "request_bytes": round(float(np.mean(sizes))),
        "encode_ms": round(float(np.mean(encodes)), 2),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--clicks", type=int, default=200)
    arguments = parser.parse_args()
    scenes = [draw_scene(np.random.default_rng(40_000 + i)) for i in range(arguments.clicks)]
    figures: dict[str, dict[str, float]] = {}
    with httpx.Client(base_url=arguments.url, timeout=60) as client:
        first = client.post("/refine", **body(scenes[0], 0, None)).raise_for_status().json()
        digest = first["image_digest"]
        for inflight in (1, 16):
            known = [body(scenes[0], number, digest) for number in range(arguments.clicks)]
            figures[f"known_{inflight}"] = measure(client, known, inflight)
            half = scenes[::2] if inflight == 1 else scenes[1::2]  # none was sent before
            sent = [body(scene, number, None) for number, scene in enumerate(half)]
            figures[f"sent_{inflight}"] = measure(client, sent, inflight)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
