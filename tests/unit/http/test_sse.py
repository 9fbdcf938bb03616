"""Streamed answers, written to a fake ASGI server."""

import asyncio
import json
from typing import Any

from starlette.types import Message

from wise_serve.contract.errors import InvalidField
from wise_serve.contract.schemas import SegmentResults
from wise_serve.http.problems import Reporter
from wise_serve.http.sse import EventStream, Send, Work
from wise_serve.observe.metrics import Metrics

NOTHING_FOUND = SegmentResults(results=[])


async def streamed(work: Work, keep_alive_s: float = 15.0) -> list[str]:
    """The parts of the body; after the last one nothing may come."""
    parts: list[str] = []
    more = True

    async def send(message: Message) -> None:
        nonlocal more
        assert more, "sent after the end"
        if message["type"] == "http.response.body":
            more = message["more_body"]
            parts.append(message["body"].decode())

    async def receive() -> Message:
        raise AssertionError("the stream reads nothing")

    stream = EventStream(work, Reporter(Metrics()), keep_alive_s)
    await stream({"type": "http"}, receive, send)
    assert not more
    return parts


async def test_a_silent_stream_sends_comments() -> None:
    async def work(_: Send) -> SegmentResults:
        await asyncio.sleep(0.05)
        return NOTHING_FOUND

    *comments, done = await streamed(work, keep_alive_s=0.01)
    assert set(comments) == {": keep-alive\n\n"}
    assert 2 <= len(comments) <= 5
    assert done.startswith("event: done\n")


async def test_no_comment_is_sent_before_its_time() -> None:
    async def work(send: Send) -> SegmentResults:
        await send("thinking", {"text": "a"})
        return NOTHING_FOUND

    assert await streamed(work) == [
        'event: thinking\ndata: {"text":"a"}\n\n',
        'event: done\ndata: {"results":[]}\n\n',
    ]


async def test_every_line_end_stays_inside_its_one_line_of_data() -> None:
    text = "a\nb\rc\u2028d\u2029e\u0085f\v\f\x1c\x1d\x1eg"

    async def work(send: Send) -> SegmentResults:
        await send("thinking", {"text": text})
        return NOTHING_FOUND

    first, _ = await streamed(work)
    name, data = first.removesuffix("\n\n").splitlines()
    assert name == "event: thinking"
    assert json.loads(data.removeprefix("data: ")) == {"text": text}


async def test_a_failure_is_the_last_event() -> None:
    async def work(_: Send) -> SegmentResults:
        raise InvalidField("'query' is empty.", field="query")

    [last] = await streamed(work)
    name, data = last.removesuffix("\n\n").split("\n")
    problem: dict[str, Any] = json.loads(data.removeprefix("data: "))
    assert name == "event: error"
    assert problem["code"] == "invalid_field"
