"""The ingress: our HTTP application in a Ray Serve replica, on the models' replicas."""

import asyncio
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wise_serve.contract.errors import NotReady
from wise_serve.http.app import build_app
from wise_serve.observe import logs
from wise_serve.pipeline.runtime import build_runtime
from wise_serve.ray.board import ClusterMetrics, keep_up
from wise_serve.ray.reasoner import RemoteReasoner
from wise_serve.ray.segmenter import RemoteSegmenter
from wise_serve.reasoner import Reasoner
from wise_serve.reasoner.none import NoReasoner
from wise_serve.reasoner.strategies import load_strategies
from wise_serve.settings import Settings

_REQUEST_ID: Final = "x-request-id"


class Ingress:
    """A replica of the ingress. Ray counts it as healthy once both models have answered, so no
    request reaches it before."""

    def __init__(
        self, settings: Settings, board: Any, segmenter: Any, reasoner: Any = None
    ) -> None:
        """`board`, `segmenter`, `reasoner`: handles of the deployments; without a reasoner: a
        server of /refine alone."""
        logs.configure(settings.log_level)
        remote: Reasoner = NoReasoner() if reasoner is None else RemoteReasoner(settings, reasoner)
        metrics = ClusterMetrics()
        strategies = load_strategies(settings)
        remote_segmenter = RemoteSegmenter(settings, segmenter)
        self._runtime = build_runtime(settings, strategies, remote, remote_segmenter, metrics)
        self._exchanging = asyncio.ensure_future(keep_up(lambda: metrics.exchange(board)))
        self._settled = asyncio.Event()
        self._runtime.lifecycle.on_ready = self._settled.set
        self._runtime.lifecycle.on_failed = self._settled.set

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Called by Ray; the application's lifespan then starts and stops the runtime."""
        return OneRequestId(build_app(self._runtime))

    async def check_health(self) -> None:
        """Called by Ray before the first request, then every few seconds; an error ends the replica
        and starts another one. Raises NotReady."""
        async with asyncio.timeout(self._runtime.settings.startup_deadline_s):
            await self._settled.wait()
        if self._runtime.lifecycle.failure:
            raise NotReady(self._runtime.lifecycle.failure)


class OneRequestId:
    """Removes X-Request-Id from an answer if Ray's proxy adds the same one; callers would get it
    twice."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope).get(_REQUEST_ID)

        async def send_without_it(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get(_REQUEST_ID) == asked:
                    del headers[_REQUEST_ID]
            await send(message)

        await self._app(scope, receive, send_without_it)
