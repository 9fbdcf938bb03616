"""Pure ASGI layers: the request's name and its errors outside, the gate of /segment inside.

Boundary  every request: request id, problem documents, security headers, one log line.
Gate      POST /segment: the API key, readiness, a slot before the body, the body's limits, the
          deadline, and the end of all work when the caller goes away.
"""

import asyncio
import contextlib
import logging
import time
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wise_serve import context, logs, problems
from wise_serve.context import RequestContext, current_request, new_context
from wise_serve.deadlines import until
from wise_serve.errors import Draining, Retryable, TooLarge, UnsupportedMediaType
from wise_serve.gateway import Gateway

SEGMENT_PATH: Final = "/segment"
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",  # pages bring their own
}
_QUIET_PATHS: Final = frozenset({"/livez", "/readyz", "/metrics"})
_LOGGED_PATH: Final = 100  # characters
_LAST_WORDS_S: Final = 2.0  # to send an error after the deadline


def _is_segment(scope: Scope) -> bool:
    return bool(scope["path"] == SEGMENT_PATH and scope["method"] == "POST")


class Boundary:
    """The outermost layer. Whatever is raised inside becomes a problem document here."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app = app
        self._reporter = gateway.reporter
        self._admission = gateway.admission
        self._tracer = gateway.tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request = new_context(headers.get("x-request-id"))
        if _is_segment(scope):
            request.trace = self._tracer.begin(request.request_id, headers)
        token = context.current.set(request)
        started = time.perf_counter()
        status = 0

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                named = MutableHeaders(scope=message)
                named["X-Request-Id"] = request.request_id
                for name, value in _HEADERS.items():
                    named.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except asyncio.CancelledError:
            # The server's own end: past the drain's deadline, uvicorn cancels what still runs.
            if not status and self._admission.draining:
                cut_off = Draining("The server was shut down before the answer was ready.")
                await problems.response_of(cut_off)(scope, receive, send_named)
            raise
        except ClientDisconnect:
            pass  # nobody is left to answer; the gate has counted it
        except Exception as error:  # nothing may leave as a stack trace
            shown = self._reporter.report(error, segmenting=_is_segment(scope))
            if not status:
                await problems.response_of(shown)(scope, receive, send_named)
        finally:
            self._log(scope, status, time.perf_counter() - started)
            request.trace.end(request.strategy, status)
            context.current.reset(token)

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


class Gate:
    """Lets a POST /segment in, and ends it when its caller leaves."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_segment(scope):
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request, metrics = current_request(), self._gateway.metrics
        settings = self._gateway.settings
        request.deadline = asyncio.get_running_loop().time() + settings.request_deadline_s
        headers = Headers(scope=scope)
        request.caller = self._gateway.access.check(headers.get("authorization"))
        self._check_headers(headers)
        async with contextlib.AsyncExitStack() as stack:
            waited_s = await self._enter(stack, request)
            metrics.stage_seconds.labels("admission").observe(waited_s)
            request.trace.stage("admission", waited_s)
            request.stage = "body"
            body = _Body(receive, settings.max_body_bytes)
            try:
                # The stages keep the deadline themselves and answer; this one is for a caller who
                # does not read the answer.
                async with until(request.deadline + _LAST_WORDS_S):
                    await _until_gone(self._app, scope, body, send)
            except ClientDisconnect:
                metrics.cancelled.labels(request.stage).inc()
                raise
        metrics.request_seconds.labels(request.strategy).observe(time.perf_counter() - started)

    def _check_headers(self, headers: Headers) -> None:
        """What can be refused unread. Raises UnsupportedMediaType, TooLarge."""
        if headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise UnsupportedMediaType("Send the body without Content-Encoding.")
        limit = self._gateway.settings.max_body_bytes
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > limit:
            raise TooLarge(f"The body has {length[:20]} bytes; at most {limit} are taken.")

    async def _enter(self, stack: contextlib.AsyncExitStack, request: RequestContext) -> float:
        """Take a slot, within the request's deadline."""
        try:
            self._gateway.lifecycle.check_ready()
            async with until(request.deadline):
                slot = self._gateway.admission.slot(request.caller)
                return await stack.enter_async_context(slot)
        except Retryable as error:
            self._gateway.metrics.rejected.labels(error.code).inc()
            raise


class _Body:
    """The request's messages: bytes are counted while they are read, then the end is awaited."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._read = 0
        self._complete = asyncio.Event()
        self._gone = asyncio.Event()

    async def receive(self) -> Message:
        """As ASGI has it. Raises TooLarge."""
        if self._complete.is_set():
            await self._gone.wait()
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._gone.set()
            self._complete.set()
            return message
        self._read += len(message.get("body", b""))
        if self._read > self._limit:
            raise TooLarge(f"The body is longer than the {self._limit} bytes that are taken.")
        if not message.get("more_body", False):
            self._complete.set()
        return message

    async def gone(self) -> None:
        """Returns when the caller has left."""
        await self._complete.wait()
        while not self._gone.is_set():
            if (await self._receive())["type"] == "http.disconnect":
                self._gone.set()


async def _until_gone(app: ASGIApp, scope: Scope, body: _Body, send: Send) -> None:
    """Run the application; if the caller leaves first, cancel it. Raises ClientDisconnect then."""
    answered = False

    async def send_noting(message: Message) -> None:
        nonlocal answered
        answered = message["type"] == "http.response.body" and not message.get("more_body", False)
        await send(message)

    work = asyncio.ensure_future(app(scope, body.receive, send_noting))
    gone = asyncio.create_task(body.gone())
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        # A server reports the end of an answer as leaving, too.
        if not work.done() and not answered:
            raise ClientDisconnect
        await work
    finally:
        for task in (work, gone):
            task.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)
