"""The gateway on the fakes, under a real uvicorn in a thread of its own: browsers block."""

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from fakes import FakeReasoner, FakeSegmenter
from wise_serve.http.app import build_app
from wise_serve.observe.metrics import Metrics
from wise_serve.pipeline.runtime import build_runtime
from wise_serve.reasoner.strategies import load_strategies
from wise_serve.settings import Settings

Serve = Callable[..., "GatewayThread"]  # the fixture `serve`


class Guard:
    """Asks for a key before `/info` and `/segment`, as a proxy in front of the gateway would."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._expected = f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        guarded = scope["type"] == "http" and scope["path"] in ("/info", "/segment")
        if guarded and dict(scope["headers"]).get(b"authorization") != self._expected:
            problem = {"title": "A valid API key is needed", "status": 401, "code": "unauthorized"}
            await JSONResponse(problem, 401)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class GatewayThread:
    """Serves on a free loopback port between `with` and its end. `url` has no trailing slash."""

    def __init__(
        self,
        reasoner: FakeReasoner,
        segmenter: FakeSegmenter,
        *,
        ready: bool,
        key: str | None,
        around: Callable[[ASGIApp], ASGIApp] = lambda app: app,
        **settings: Any,
    ) -> None:
        """`around`: what stands before the application, such as a proxy. `settings`: Settings'."""
        self.reasoner = reasoner
        self.segmenter = segmenter
        self.url = ""
        self._settings = Settings(**settings)
        self._wait_ready = ready
        self._key = key
        self._around = around
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: uvicorn.Server | None = None

    def call(self, action: Callable[[], object]) -> None:
        """Do something on the gateway's event loop."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(action)

    def cut(self) -> None:
        """Break every connection, as a lost network would."""
        assert self._server is not None
        for connection in list(self._server.server_state.connections):
            self.call(connection.transport.abort)

    def hang_up(self, client: tuple[str, int]) -> None:
        """Close the connection of one client address; call it on the gateway's event loop."""
        assert self._server is not None
        for connection in list(self._server.server_state.connections):
            if getattr(connection, "client", None) == client:
                connection.transport.close()

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._up.wait(10):
            raise RuntimeError("the gateway did not start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.should_exit = True
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        settings = self._settings
        strategies = load_strategies(settings)
        runtime = build_runtime(settings, strategies, self.reasoner, self.segmenter, Metrics())
        loaded = asyncio.Event()
        runtime.lifecycle.on_ready = loaded.set
        app: ASGIApp = build_app(runtime)
        if self._key is not None:
            app = Guard(app, self._key)
        config = uvicorn.Config(
            self._around(app),
            host="127.0.0.1",
            port=0,
            log_config=None,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        serving = asyncio.create_task(self._server.serve())
        while not self._server.started:
            await asyncio.sleep(0.005)
        if self._wait_ready:
            await asyncio.wait_for(loaded.wait(), 5)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._up.set()
        await serving
