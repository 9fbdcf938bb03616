"""Segmenting drawn scenes with a real worker process, and the expected masks."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from miniature.scenes import Scene, draw_scene
from wise_serve.contract.names import CacheResult, Operation
from wise_serve.contract.prompts import Mask, Prompt
from wise_serve.imaging import masks
from wise_serve.segmenter import Segmenter
from wise_serve.segmenter.model import DecodeItem
from wise_serve.segmenter.sam2.checkpoints import load_model
from wise_serve.segmenter.sam2.model import Sam2
from wise_serve.segmenter.supervisor.client import WORKER, SegmenterClient
from wise_serve.segmenter.supervisor.pool import SegmenterPool
from wise_serve.settings import Settings

CPU = torch.device("cpu")


class Recorder:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.batches: list[tuple[Operation, int]] = []
        self.depths: list[int] = []
        self.restarts = 0
        self.results: list[CacheResult] = []

    def batch(self, operation: Operation, size: int) -> None:
        self.batches.append((operation, size))

    def queue_depth(self, items: int) -> None:
        self.depths.append(items)

    def watch(self, alive: Callable[[], bool]) -> None:
        assert not alive()  # a worker is watched before it is started

    def restart(self) -> None:
        self.restarts += 1

    def cache(self, result: CacheResult) -> None:
        self.results.append(result)


def settings(**changes: object) -> Settings:
    return Settings.model_validate({"startup_deadline_s": 120, **changes})


@asynccontextmanager
async def segmenting(
    program: Sequence[str] = WORKER, **changes: object
) -> AsyncIterator[tuple[SegmenterClient, Recorder]]:
    """A real worker behind the real client, and what was reported to its observer."""
    recorder = Recorder()
    made = SegmenterClient(settings(**changes), recorder, program)
    await made.start()
    try:
        yield made, recorder
    finally:
        await made.stop()


@asynccontextmanager
async def pooling(
    workers: int, program: Sequence[str] = WORKER, **changes: object
) -> AsyncIterator[tuple[SegmenterPool, dict[str, Recorder]]]:
    """Several real workers behind the real pool, and what was reported to their observers."""
    recorders: dict[str, Recorder] = {}
    wanted = settings(segmenter_workers=workers, **changes)
    made = SegmenterPool(wanted, lambda name: recorders.setdefault(name, Recorder()), program)
    await made.start()
    try:
        yield made, recorders
    finally:
        await made.stop()


def scene(seed: int) -> tuple[Scene, NDArray[np.uint8]]:
    drawn = draw_scene(np.random.default_rng(8000 + seed), max_side=500)
    return drawn, np.array(drawn.image)


def prompts_of(drawn: Scene) -> list[Prompt]:
    return [Prompt(shape.box, (shape.centre, shape.centre)) for shape in drawn.shapes]


async def segment(
    client: Segmenter, seed: int, mark: tuple[int, int, int] | None = None
) -> list[Mask]:
    """A scene's shapes. `mark`: the colour of its first pixel, for a model with faults."""
    drawn, pixels = scene(seed)
    if mark is not None:
        pixels[0, 0] = mark
    async with client.open(pixels, f"digest-{seed}", f"seg-{seed}") as session:
        found, timing = await session.decode(prompts_of(drawn))
    assert timing.work_ms > 0
    assert timing.rle_ms > 0
    return found


def assert_right(found: list[Mask], seed: int) -> None:
    """Equal to the same model run here, alone."""
    drawn, pixels = scene(seed)
    sam = Sam2(load_model("miniature", CPU), CPU)
    features = sam.encode([pixels])[0]
    for mask, prompt in zip(found, prompts_of(drawn), strict=True):
        (expected,) = sam.decode([DecodeItem(features, prompt, pixels.shape[:2])])
        decoded = masks.decode_rle(mask.size, mask.counts)
        assert (decoded & expected.mask).sum() >= 0.999 * (decoded | expected.mask).sum()
        assert mask.area == decoded.sum()
        assert mask.score == pytest.approx(expected.score, abs=1e-4)


@dataclass(frozen=True)
class Predicted:
    """A mask (H x W bool) of the package's own predictor, and its predicted IoU."""

    mask: NDArray[np.bool_]
    score: float


async def kill_for_good(worker: SegmenterClient) -> None:
    """Kill the worker's processes until its supervisor gives up: three within a minute."""
    killed: set[int | None] = {None}
    for _ in range(3):
        await until(lambda: worker.pid not in killed, 30)
        assert worker.pid is not None
        killed.add(worker.pid)
        os.kill(worker.pid, signal.SIGKILL)
    await until(lambda: worker.failed, 10)


async def until(condition: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def shared_memory() -> set[str]:
    return {path.name for path in Path("/dev/shm").iterdir()}


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
