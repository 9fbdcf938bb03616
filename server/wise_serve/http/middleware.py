"""Pure ASGI layers: request ids and errors in the outer one, the gate of the models' work in the
inner one.

Boundary  every request: request id, problem documents, security headers, one log line.
Head      HEAD: the answer to GET without its body.
Gate      POST /segment and /refine: the API key, readiness, a slot before the body, the body's
          limits, the deadline; when the caller leaves, all of its work ends, wherever it is.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Final

from opentelemetry.trace import Tracer
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wise_serve.contract.errors import (
    DeadlineExceeded,
    Draining,
    Retryable,
    TooLarge,
    UnsupportedMediaType,
    WiseError,
)
from wise_serve.http import problems, sse
from wise_serve.http.access import Access
from wise_serve.http.exchange import Body, Response, until_gone
from wise_serve.http.problems import Reporter, router_response
from wise_serve.observe import context, logs, traces
from wise_serve.observe.context import RequestContext, current_request, new_context
from wise_serve.pipeline.deadlines import until
from wise_serve.pipeline.runtime import Runtime

WORK_PATHS: Final = frozenset({"/segment", "/refine"})
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Pages bring their own.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
_QUIET_PATHS: Final = frozenset({"/livez", "/readyz", "/metrics"})
_LOGGED_PATH: Final = 100  # characters
_ERROR_AFTER_DEADLINE_S: Final = 2.0  # to send the error that says so
_OTHERS_S: Final = 30.0  # for a request that is not for the models; each of them is quick


def _is_work(scope: Scope) -> bool:
    """Whether a request is for the models."""
    return bool(scope["path"] in WORK_PATHS and scope["method"] == "POST")


def _in_seconds(seconds: float) -> float:
    """A time of the event loop's clock."""
    return asyncio.get_running_loop().time() + seconds


class _Answer:
    """An answer on its way: it gets the headers that all have. status: 0 before it begins.
    complete: its last message has been given to the server, which may still be sending it."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.status = 0
        self.complete = False
        self._streams = False
        self._send = send
        self._request_id = request_id

    async def send(self, message: Message) -> None:
        """ASGI's `send`."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._request_id
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            self._streams = headers.get("content-type", "").startswith(sse.MEDIA_TYPE)
        else:
            self.complete = not message.get("more_body", False)
        await self._send(message)

    async def fail(self, error: WiseError, scope: Scope, receive: Receive) -> None:
        """Answer with a problem document, or end the stream that has begun with its event `error`.
        After the beginning of any other answer the connection can only be closed."""
        if self.complete or (self.status and not self._streams):
            return
        with contextlib.suppress(DeadlineExceeded):  # the caller does not read
            async with until(_in_seconds(_ERROR_AFTER_DEADLINE_S)):
                if self.status:
                    await self.send({"type": "http.response.body", "body": sse.error_event(error)})
                else:
                    await problems.response_of(error)(scope, receive, self.send)


class Boundary:
    """The outermost layer. Whatever is raised inside becomes a problem document here."""

    def __init__(self, app: ASGIApp, reporter: Reporter, tracer: Tracer) -> None:
        self._app = app
        self._reporter = reporter
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, whatever is raised inside (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request = new_context(headers.get("x-request-id"))
        if _is_work(scope):
            request.trace = traces.begin(self._tracer, scope["path"], request.request_id, headers)
        token = context.current.set(request)
        started = time.perf_counter()
        answer = _Answer(send, request.request_id)
        try:
            # The gate's own limit for the models' work is the request's.
            async with until(None if _is_work(scope) else _in_seconds(_OTHERS_S)):
                await self._served(scope)(scope, receive, answer.send)
        except asyncio.CancelledError:
            # uvicorn cancels requests that still run after the drain, or when a model is lost.
            if not answer.complete:
                error = Draining("The server was shut down before the answer was ready.")
                told = self._reporter.report(error, segmenting=_is_work(scope))
                await answer.fail(told, scope, receive)
            raise
        except ClientDisconnect:
            pass  # the caller has left; the gate has counted it
        except Exception as raised:  # nothing may leave as a stack trace
            told = self._reporter.report(raised, segmenting=_is_work(scope))
            await answer.fail(told, scope, receive)
        finally:
            self._log(scope, answer.status, time.perf_counter() - started)
            request.trace.end(request.strategy, answer.status)
            context.current.reset(token)

    def _served(self, scope: Scope) -> ASGIApp:
        """The application, or 404 for a path with control characters: a route also matches a path
        that ends with a line end, but the gate does not."""
        return self._app if scope["path"].isprintable() else router_response(HTTPException(404))

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
        fields = {
            "method": scope["method"][:16],
            "path": scope["path"][:_LOGGED_PATH],
            "status": status,
            "duration_ms": round(seconds * 1000, 1),
        }
        if caller := current_request().caller:
            fields["caller"] = caller
        level = logging.DEBUG if scope["path"] in _QUIET_PATHS else logging.INFO
        logs.event(level, "request", fields)


class Head:
    """Answers HEAD on every path as GET, without the body (RFC 9110, section 9.3.2).

    A layer, because FastAPI's routes, unlike Starlette's, do not add HEAD to GET.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; send no body if it is HEAD (ASGI)."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if "body" in message else message)

        await self._app({**scope, "method": "GET"}, receive, send_without_body)


class Gate:
    """Admits a request for the models, and ends it when its caller leaves."""

    def __init__(self, app: ASGIApp, runtime: Runtime, access: Access) -> None:
        self._app = app
        self._access = access
        self._settings, self._metrics = runtime.settings, runtime.metrics
        self._lifecycle, self._admission = runtime.lifecycle, runtime.admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Admit a request for the models, run it, and release its slot (ASGI)."""
        if scope["type"] != "http" or not _is_work(scope):
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request, metrics, settings = current_request(), self._metrics, self._settings
        request.deadline = _in_seconds(settings.request_deadline_s)
        headers = Headers(scope=scope)
        request.caller = self._access.check(headers.get("authorization"))
        self._check_headers(headers)
        with self._counting_refusals():
            self._lifecycle.check_ready()
            self._admission.check_room(request.caller)
        body, response = Body(receive, settings.max_body_bytes), Response(send)
        try:
            # Each stage keeps the deadline and answers with an error; this limit is for a caller
            # who does not read the answer.
            async with until(request.deadline + _ERROR_AFTER_DEADLINE_S):
                await until_gone(self._admitted(scope, body, response), body, response)
        except ClientDisconnect:
            metrics.cancelled.labels(request.stage).inc()
            raise
        metrics.request_seconds.labels(request.strategy).observe(time.perf_counter() - started)

    async def _admitted(self, scope: Scope, body: Body, response: Response) -> None:
        """Take a slot, and answer."""
        request, settings = current_request(), self._settings
        async with contextlib.AsyncExitStack() as stack:
            waited_s = await self._enter(stack, request)
            self._metrics.stage_seconds.labels("admission").observe(waited_s)
            request.trace.stage("admission", waited_s)
            request.admitted = True
            request.stage = "body"
            body.deadline = _in_seconds(settings.body_deadline_s)
            await self._app(scope, body.receive, response.send)

    def _check_headers(self, headers: Headers) -> None:
        """Refuse by the headers alone, before the body. Raises UnsupportedMediaType, TooLarge."""
        if headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise UnsupportedMediaType("Send the body without Content-Encoding.")
        limit = self._settings.max_body_bytes
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > limit:
            raise TooLarge(f"The body has {length[:20]} bytes; at most {limit} are accepted.")

    async def _enter(self, stack: contextlib.AsyncExitStack, request: RequestContext) -> float:
        """Take a slot, within the request's deadline."""
        with self._counting_refusals():
            async with until(request.deadline):
                return await stack.enter_async_context(self._admission.slot(request.caller))

    @contextlib.contextmanager
    def _counting_refusals(self) -> Iterator[None]:
        try:
            yield
        except Retryable as error:
            self._metrics.rejected.labels(error.code).inc()
            raise
