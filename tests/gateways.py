"""The application on the fakes: what its HTTP tests share."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from fakes import FakeReasoner, FakeSegmenter
from pictures import picture
from wise_serve.pipeline.runtime import Runtime
from wise_serve.server.connections import make_protocol


@dataclass
class Server:
    """A running application and a client for it."""

    runtime: Runtime
    app: FastAPI
    client: httpx.AsyncClient
    reasoner: FakeReasoner
    segmenter: FakeSegmenter

    async def form(self, query: str | None = "the red circle", **fields: Any) -> httpx.Response:
        image = fields.pop("image", None) or picture()
        data = {**({} if query is None else {"query": query}), **fields}
        return await self.client.post("/segment", files={"image": ("a.png", image)}, data=data)

    def sample(self, name: str, **labels: str) -> float:
        return self.runtime.metrics.registry.get_sample_value(name, labels) or 0.0


Start = Callable[..., Any]

# `make ray-test` puts Ray's stand-ins between pipeline and fakes (tests/ray_in_process.py).
ON_RAY = os.environ.get("WISE_HTTP_TESTS_ON") == "ray"


def took(ms: float, fakes_ms: float) -> bool:
    """Whether an answer's time is the one that the fake says, `fakes_ms`. On Ray a time holds the
    way to the replica, and the queue that the fake only states is not waited for."""
    if ON_RAY:
        return 0.75 * fakes_ms <= ms < fakes_ms + 1000
    return ms == pytest.approx(fakes_ms)


@asynccontextmanager
async def on_loopback(app: FastAPI, header_deadline_s: float = 10.0) -> AsyncIterator[int]:
    """The application under a real uvicorn on a free port; yields the port."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        log_config=None,
        lifespan="off",
        http=make_protocol(header_deadline_s),
        ws="none",
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())
    try:
        while not server.started:
            await asyncio.sleep(0.005)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True
        await asyncio.wait_for(task, 5)


async def eventually(condition: Callable[[], bool], within_s: float = 2.0) -> None:
    """Wait until `condition()`; fails after `within_s`."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)
