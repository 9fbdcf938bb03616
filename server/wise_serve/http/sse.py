"""Server-sent events (WHATWG HTML, section 9.2): `event: name`, `data: one line of JSON`."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope
from starlette.types import Send as AsgiSend

from wise_serve.contract.schemas import SegmentResult, SegmentResults
from wise_serve.http.problems import Reporter, problem_of

Send = Callable[[str, dict[str, Any]], Awaitable[None]]
"""Sends one event: its name and its data."""
Work = Callable[[Send], Awaitable[SegmentResult | SegmentResults]]


class EventStream(Response):
    """Runs `work` while it answers: events as they come, then `done` or `error`."""

    media_type = "text/event-stream"

    def __init__(self, work: Work, reporter: Reporter) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._work = work
        self._reporter = reporter

    async def __call__(self, scope: Scope, receive: Receive, send: AsgiSend) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)

        async def write(name: str, data: bytes, *, more: bool = True) -> None:
            body = b"event: %s\ndata: %s\n\n" % (name.encode(), data)
            await send({"type": "http.response.body", "body": body, "more_body": more})

        async def event(name: str, data: dict[str, Any]) -> None:
            await write(name, orjson.dumps(data))

        try:
            result = await self._work(event)
        except Exception as error:  # the status line is gone; the stream itself must tell
            problem = problem_of(self._reporter.report(error, segmenting=True))
            await write("error", problem.model_dump_json(exclude_none=True).encode(), more=False)
        else:
            await write("done", result.model_dump_json().encode(), more=False)
