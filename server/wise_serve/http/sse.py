"""Streamed answers: server-sent events (WHATWG HTML, section 9.2), each with one line of JSON."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import orjson
from fastapi.sse import format_sse_event
from starlette.responses import Response
from starlette.types import Receive, Scope
from starlette.types import Send as AsgiSend

from wise_serve.contract.errors import WiseError
from wise_serve.contract.schemas import SegmentResult, SegmentResults
from wise_serve.http.problems import Reporter, problem_of

Send = Callable[[str, dict[str, Any]], Awaitable[None]]
"""Sends one event: its name and its data."""
Work = Callable[[Send], Awaitable[SegmentResult | SegmentResults]]

MEDIA_TYPE: Final = "text/event-stream"
KEEP_ALIVE_S: Final = 15.0  # as the standard advises, against proxies that close silent connections
# JSON may hold these line ends as they are; an event's data would be split at them.
_LINE_ENDS: Final = {ord(end): f"\\u{ord(end):04x}" for end in "\u0085\u2028\u2029"}


class EventStream(Response):
    """Runs `work` and sends its events as they come, then `done` or `error`. Comments between them,
    which readers ignore, keep the connection open."""

    media_type = MEDIA_TYPE

    def __init__(self, work: Work, reporter: Reporter, keep_alive_s: float = KEEP_ALIVE_S) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._work = work
        self._reporter = reporter
        self._keep_alive_s = keep_alive_s

    async def __call__(self, scope: Scope, receive: Receive, send: AsgiSend) -> None:
        """Send the stream's events until the work has ended (ASGI)."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)

        async def write(body: bytes, *, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": body, "more_body": more})

        async def event(name: str, data: dict[str, Any]) -> None:
            await write(_event(name, orjson.dumps(data).decode()))

        try:
            async with self._kept_alive(write):
                result = await self._work(event)
        except Exception as error:  # the status line was sent: the stream must report it
            last = error_event(self._reporter.report(error, segmenting=True))
        else:
            last = _event("done", result.model_dump_json())
        await write(last, more=False)

    @contextlib.asynccontextmanager
    async def _kept_alive(self, write: Callable[[bytes], Awaitable[None]]) -> AsyncIterator[None]:
        async def comment() -> None:
            while True:
                await asyncio.sleep(self._keep_alive_s)
                await write(format_sse_event(comment="keep-alive"))

        commenting = asyncio.create_task(comment())
        try:
            yield
        finally:
            commenting.cancel()
            await asyncio.gather(commenting, return_exceptions=True)


def error_event(error: WiseError) -> bytes:
    """The last event of a stream that fails."""
    return _event("error", problem_of(error).model_dump_json(exclude_none=True))


def _event(name: str, json: str) -> bytes:
    return format_sse_event(event=name, data_str=json.translate(_LINE_ENDS))
