"""Server-sent events (WHATWG HTML, section 9.2): `event: name`, `data: one line of JSON`."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from wise_serve.contract.schemas import SegmentResult, SegmentResults
from wise_serve.http.problems import Reporter, problem_of
from wise_serve.pipeline.events import Emit, Event, InstanceFound, MaskDone, ThinkingDelta

Work = Callable[[Emit], Awaitable[SegmentResult | SegmentResults]]


class EventStream(Response):
    """Runs `work` while it answers: events as they come, then `done` or `error`."""

    media_type = "text/event-stream"

    def __init__(self, work: Work, reporter: Reporter) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._work = work
        self._reporter = reporter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)

        async def write(name: str, data: bytes, *, more: bool = True) -> None:
            body = b"event: %s\ndata: %s\n\n" % (name.encode(), data)
            await send({"type": "http.response.body", "body": body, "more_body": more})

        async def emit(event: Event) -> None:
            await write(event.name, orjson.dumps(payload(event)))

        try:
            result = await self._work(emit)
        except Exception as error:  # the status line is gone; the stream itself must tell
            problem = problem_of(self._reporter.report(error, segmenting=True))
            await write("error", problem.model_dump_json(exclude_none=True).encode(), more=False)
        else:
            await write("done", result.model_dump_json().encode(), more=False)


def payload(event: Event) -> dict[str, Any]:
    """An event's data. `query_index` and `index` say which object of which query it is."""
    match event:
        case ThinkingDelta(query, text):
            return {"query_index": query, "text": text}
        case InstanceFound(query, index, instance):
            place = {"box": instance.box, "points": instance.points}
            return {"query_index": query, "index": index, **place}
        case MaskDone(query, index, result):
            return {"query_index": query, "index": index, **result.model_dump()}
