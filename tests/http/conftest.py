"""The application on the fakes, over HTTP."""

import asyncio
import hashlib
import importlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.trace import Tracer

from fakes import FakeReasoner, FakeSegmenter
from gateways import ON_RAY, Server, Start
from wise_serve.http.app import build_app
from wise_serve.observe.metrics import Metrics
from wise_serve.observe.traces import NO_TRACER
from wise_serve.pipeline.runtime import build_runtime
from wise_serve.reasoner import Reasoner
from wise_serve.reasoner.strategies import load_strategies
from wise_serve.segmenter import Segmenter
from wise_serve.settings import Settings


def as_seen(
    settings: Settings, reasoner: FakeReasoner, segmenter: FakeSegmenter
) -> tuple[Reasoner, Segmenter]:
    """The fakes as the pipeline sees them."""
    if not ON_RAY:
        return reasoner, segmenter
    seen: tuple[Reasoner, Segmenter] = importlib.import_module("ray_in_process").on_ray(
        settings, reasoner, segmenter
    )
    return seen


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """`await start(reasoner=..., segmenter=..., ready=True, **settings)` -> Server."""
    async with AsyncExitStack() as stack:

        async def begin(
            reasoner: FakeReasoner | None = None,
            segmenter: FakeSegmenter | None = None,
            *,
            ready: bool = True,
            tracer: Tracer = NO_TRACER,
            **settings: Any,
        ) -> Server:
            reasoner, segmenter = reasoner or FakeReasoner(), segmenter or FakeSegmenter()
            chosen = Settings(**settings)
            parts = as_seen(chosen, reasoner, segmenter)
            runtime = build_runtime(chosen, load_strategies(chosen), *parts, Metrics())
            app = build_app(runtime, tracer=tracer)
            loaded = asyncio.Event()
            runtime.lifecycle.on_ready = loaded.set
            await stack.enter_async_context(app.router.lifespan_context(app))
            if ready:
                await asyncio.wait_for(loaded.wait(), 2)
            transport = httpx.ASGITransport(app)
            client = httpx.AsyncClient(transport=transport, base_url="http://test")
            await stack.enter_async_context(client)
            return Server(runtime, app, client, reasoner, segmenter)

        yield begin


@pytest.fixture
def keys(tmp_path: Path) -> str:
    """A file of the keys `one` and `two`, of the callers `a` and `b`."""
    file = tmp_path / "keys"
    file.write_text(
        f"{hashlib.sha256(b'one').hexdigest()}  a\n{hashlib.sha256(b'two').hexdigest()}  b\n"
    )
    return str(file)
