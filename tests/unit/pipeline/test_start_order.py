"""In which order the two models start: on one GPU the segmenter first, otherwise in parallel; and
what is reported when one does not."""

import asyncio

import pydantic
import pytest

from fakes import FakeReasoner, FakeSegmenter
from wise_serve import device
from wise_serve.observe.metrics import Metrics
from wise_serve.pipeline.runtime import build_runtime
from wise_serve.reasoner.strategies import STRATEGIES
from wise_serve.settings import Settings


async def started(settings: Settings) -> list[str]:
    """What happened, in order, as far as it goes while the segmenter is still warming up."""
    events: list[str] = []
    warm = asyncio.Event()

    class Reasoner(FakeReasoner):
        async def start(self) -> None:
            events.append("reasoner starts")

    class Segmenter(FakeSegmenter):
        async def start(self) -> None:
            events.append("segmenter starts")
            await warm.wait()
            events.append("segmenter is warm")

    runtime = build_runtime(settings, STRATEGIES, Reasoner(), Segmenter(), Metrics())
    ready = asyncio.Event()
    runtime.lifecycle.on_ready = ready.set
    runtime.lifecycle.start()
    try:
        for _ in range(10):  # both tasks have run as far as they can
            await asyncio.sleep(0)
        warm.set()
        async with asyncio.timeout(5):
            await ready.wait()
    finally:
        await runtime.lifecycle.stop()
        runtime.threads.close()
    return events


async def test_on_one_gpu_the_reasoner_waits_for_the_warm_segmenter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "_found", lambda: "cuda")
    assert await started(Settings()) == [
        "segmenter starts",
        "segmenter is warm",
        "reasoner starts",
    ]


async def test_on_a_cpu_both_models_start_at_once() -> None:
    events = await started(Settings(device="cpu"))
    assert events[-1] == "segmenter is warm"
    assert set(events[:2]) == {"reasoner starts", "segmenter starts"}


class Engine(pydantic.BaseModel):
    """An engine's configuration, as vLLM's: it checks itself."""

    length: int

    @pydantic.model_validator(mode="after")
    def _fits(self) -> "Engine":
        if self.length > 2048:
            raise ValueError("max_model_len (8192) is greater than\nthe checkpoint's 2048")
        return self


async def test_options_that_do_not_fit_the_checkpoint_are_reported_in_one_line() -> None:
    class Reasoner(FakeReasoner):
        async def start(self) -> None:
            Engine(length=8192)

    settings = Settings(device="cpu")
    runtime = build_runtime(settings, STRATEGIES, Reasoner(), FakeSegmenter(), Metrics())
    failed = asyncio.Event()
    runtime.lifecycle.on_failed = failed.set
    runtime.lifecycle.start()
    try:
        async with asyncio.timeout(5):
            await failed.wait()
    finally:
        await runtime.lifecycle.stop()
        runtime.threads.close()
    said = runtime.lifecycle.failure
    assert "max_model_len (8192) is greater than the checkpoint's 2048" in said
    assert "\n" not in said
