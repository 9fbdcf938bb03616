"""Measures each part of the server alone, in its own process, for comparison with `/segment`.

`reasoner`: the engine on prepared squares and prompts. `segmenter`: the worker on decoded images,
with the boxes of the scenes. `images`: Pillow's decoding and the reasoner's resize, in one thread.
The scenes are the same as for the server; caches are empty. Prints one JSON line last.
"""

import argparse
import asyncio
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image
from tqdm import tqdm
from vllm.engine.arg_utils import AsyncEngineArgs

from load import Case, make_cases, make_scenes
from processes import family
from wise_serve.contract.prompts import Prompt
from wise_serve.imaging import images
from wise_serve.miniature import REASONER_FOLDER, REASONER_IMAGE_SIZE
from wise_serve.reasoner import ReasonRequest
from wise_serve.reasoner.engine import VllmReasoner
from wise_serve.reasoner.inside_vllm.front_end import engine_arguments
from wise_serve.reasoner.strategies import STRATEGIES
from wise_serve.segmenter.supervisor.client import SegmenterClient
from wise_serve.settings import Settings

STRATEGY: Final = "wise-s"
_BARE = """
import asyncio, json, sys
from vllm import SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.v1.engine.async_llm import AsyncLLM

async def main():
    engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**json.loads(sys.argv[1])))
    async for _ in engine.generate("the", SamplingParams(max_tokens=1), "first"):
        pass
    print("started", flush=True)
    engine.shutdown()

if __name__ == "__main__":
    asyncio.run(main())
"""


@dataclass(frozen=True)
class Part:
    """The figures of one part.

    rate: calls per second. median_ms: latency of a call. cpu_ms: CPU time per call, of all its
    processes. front_cpu_ms: of the calling process. of_ms: medians of its stages."""

    rate: float
    median_ms: float
    cpu_ms: float
    front_cpu_ms: float
    of_ms: dict[str, float]


Call = Callable[[int], Awaitable[dict[str, float]]]  # the case's number -> its stages, ms


async def closed_loop(call: Call, numbers: Sequence[int], in_flight: int, title: str) -> Part:
    """Call with the numbers in turn, from `in_flight` callers."""
    waiting = iter(tqdm(numbers, desc=f"{title}, {in_flight} in flight"))
    latencies: list[float] = []
    stages: list[dict[str, float]] = []

    async def caller() -> None:
        for number in waiting:
            begun = time.perf_counter()
            stages.append(await call(number))
            latencies.append((time.perf_counter() - begun) * 1000)

    cpu_s, front_s, begun = _cpu_s(), time.process_time(), time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(in_flight)))
    took_s, front_s = time.perf_counter() - begun, time.process_time() - front_s
    cpu_s = _cpu_s() - cpu_s
    names = {name for stage in stages for name in stage}
    medians = {n: float(np.median([s[n] for s in stages if n in s])) for n in sorted(names)}
    each_ms = 1000 / len(numbers)
    latency_ms = float(np.median(latencies))
    return Part(len(numbers) / took_s, latency_ms, cpu_s * each_ms, front_s * each_ms, medians)


async def reasoner_alone(cases: Sequence[Case], in_flight: int, warm: Sequence[Case]) -> Part:
    """Measure vLLM with the server's own arguments; the first `</answer>` ends a call."""
    engine = VllmReasoner(Settings(), STRATEGIES)
    everything = [*cases, *warm]
    loaded = [images.load(case.image, 1 << 30, 1 << 30) for case in everything]
    squares = [images.resized(one.picture, (REASONER_IMAGE_SIZE,) * 2) for one in loaded]
    strategy = STRATEGIES[STRATEGY]

    async def generate(number: int) -> dict[str, float]:
        prompt = strategy.prompt(everything[number].query)
        request = ReasonRequest(
            f"part-{number}", squares[number], loaded[number].digest, prompt, strategy.max_tokens
        )
        async with aclosing(engine.stream(request)) as deltas:
            async for _ in deltas:
                pass
        return {}

    await engine.start()
    try:
        return await _warm_then(generate, len(cases), len(warm), in_flight, "vLLM alone")
    finally:
        await engine.stop()


async def segmenter_alone(count: int, seed: int, in_flight: int, warm: int) -> Part:
    """Measure the segmenter: send an image, encode it, decode its prompt, if any, to RLE."""
    client = SegmenterClient(Settings())
    scenes = [*make_scenes(count, seed), *make_scenes(warm, seed + 1)]
    loaded = [images.load(case.image, 1 << 30, 1 << 30) for case, _ in scenes]
    prompts = [[Prompt(s.box, (s.centre, s.centre)) for s in shapes] for _, shapes in scenes]

    async def segment(number: int) -> dict[str, float]:
        image = loaded[number]
        async with client.open(image.pixels, image.digest, f"part-{number}") as session:
            encode = await session.encoded()
            stages = {"encode": encode.queue_ms + encode.work_ms}
            if prompts[number]:
                _, decode = await session.decode(prompts[number])
                stages["decode"] = decode.queue_ms + decode.work_ms + decode.rle_ms
        return stages

    await client.start()
    try:
        return await _warm_then(segment, count, warm, in_flight, "segmenter alone")
    finally:
        await client.stop()


def images_alone(cases: Sequence[Case]) -> Part:
    """Measure Pillow's decoding and bilinear resize, in one thread."""
    latencies, cpu_s, begun = [], time.process_time(), time.perf_counter()
    for case in cases:
        one = time.perf_counter()
        picture = Image.open(io.BytesIO(case.image)).convert("RGB")
        picture.resize((REASONER_IMAGE_SIZE,) * 2, Image.Resampling.BILINEAR)
        latencies.append((time.perf_counter() - one) * 1000)
    took_s, cpu_s = time.perf_counter() - begun, time.process_time() - cpu_s
    count, cpu_ms = len(cases), cpu_s / len(cases) * 1000
    return Part(count / took_s, float(np.median(latencies)), cpu_ms, cpu_ms, {})


def measure(name: str, count: int, seed: int, in_flight: int = 1) -> Part:
    """Measure the part `name` in its own process. Raises CalledProcessError."""
    command = [sys.executable, str(Path(__file__)), name, "--cases", str(count)]
    command += ["--seed", str(seed), "--in-flight", str(in_flight)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return Part(**json.loads(printed.splitlines()[-1]))


def engine_start_s() -> float:
    """Seconds from a process's start to vLLM's first token, with the server's arguments.

    Of this project, only the layers for a CPU and the plugin are imported, by vLLM."""
    given = engine_arguments(Settings(), str(REASONER_FOLDER), {})
    usual = AsyncEngineArgs(model=given.model)
    differs = {k: v for k, v in vars(given).items() if v != getattr(usual, k)}
    begun = time.perf_counter()
    command = [sys.executable, "-c", _BARE, json.dumps({"model": given.model, **differs})]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        started = next((line for line in process.stdout if line == "started\n"), None)
        took_s = time.perf_counter() - begun
    if started is None:
        raise RuntimeError("vLLM did not start; its own lines above say why.")
    return took_s


async def _warm_then(call: Call, count: int, warm: int, in_flight: int, title: str) -> Part:
    await closed_loop(call, range(count, count + warm), in_flight, "warm-up")
    return await closed_loop(call, range(count), in_flight, title)


def _cpu_s() -> float:
    """CPU seconds of this process and its living descendants."""
    return sum(process.cpu_s for process in family(os.getpid()).values())


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=("reasoner", "segmenter", "images"))
    parser.add_argument("--cases", type=int, default=64, help="calls (default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="of the scenes (default: 0)")
    parser.add_argument("--in-flight", type=int, default=1, help="callers (default: 1)")
    args = parser.parse_args()
    cases = make_cases(args.cases, args.seed)
    if args.part == "images":
        part = images_alone(cases)
    elif args.part == "reasoner":
        warm = make_cases(8 * args.in_flight, args.seed + 1)
        part = asyncio.run(reasoner_alone(cases, args.in_flight, warm))
    else:
        part = asyncio.run(
            segmenter_alone(args.cases, args.seed, args.in_flight, 8 * args.in_flight)
        )
    print(json.dumps(asdict(part)))


if __name__ == "__main__":
    main()
