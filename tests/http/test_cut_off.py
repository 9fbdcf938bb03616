"""Answers that cannot be sent whole: they are counted once, and a stream says why it ends."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from starlette.types import Message

from fakes import FakeReasoner
from gateways import Server, Start, eventually
from pictures import picture


class Call:
    """A POST /segment whose reader accepts `reads` messages of the answer and then no more."""

    def __init__(self, server: Server, *, stream: bool, reads: int = 1000) -> None:
        data = {"query": "x", "stream": str(stream).lower()}
        request = httpx.Request("POST", "http://t", files={"image": ("a", picture())}, data=data)
        self._body = request.read()
        self._headers = [(name.lower(), value) for name, value in request.headers.raw]
        self._server, self._reads = server, reads
        self.sent: list[Message] = []

    async def __call__(self) -> None:
        scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": "/segment"}
        empty = {"query_string": b"", "root_path": ""}
        await self._server.app(
            {**scope, **empty, "headers": self._headers}, self._receive, self._send
        )

    async def _receive(self) -> Message:
        if not self._body:
            await asyncio.sleep(60)
        body, self._body = self._body, b""
        return {"type": "http.request", "body": body, "more_body": False}

    async def _send(self, message: Message) -> None:
        if len(self.sent) >= self._reads:
            await asyncio.sleep(60)
        self.sent.append(message)


def counted(server: Server) -> dict[str, float]:
    """Requests that have been counted, by the HTTP status."""
    families = server.runtime.metrics.registry.collect()
    [requests] = [family for family in families if family.name == "wise_requests"]
    return {
        sample.labels["code"]: sample.value
        for sample in requests.samples
        if sample.name == "wise_requests_total" and sample.value
    }


async def test_a_stream_that_is_not_read_is_counted_once(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wise_serve.http.middleware._ERROR_AFTER_DEADLINE_S", 0.1)
    server = await start(FakeReasoner(delay_s=0.2), request_deadline_s=0.5)
    await asyncio.wait_for(Call(server, stream=True, reads=1)(), 5)
    assert counted(server) == {"504": 1}
    assert server.runtime.admission.inflight == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_that_the_shutdown_ends_is_told_and_counted(
    start: Start, stream: bool
) -> None:
    server = await start(FakeReasoner(delay_s=0.05))
    call = Call(server, stream=stream)
    calling = asyncio.create_task(call())
    await eventually(lambda: len(call.sent) > 1 if stream else server.reasoner.running == 1)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert told(call.sent[-1], stream=stream)["code"] == "draining"
    assert not call.sent[-1].get("more_body", False)
    assert call.sent[0]["status"] == (200 if stream else 503)
    assert counted(server) == {"503": 1}
    assert server.runtime.admission.inflight == 0


async def test_a_complete_answer_gets_no_error_after_it(start: Start) -> None:
    server = await start()
    call = Call(server, stream=True)
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    send = call._send

    async def stay(message: Message) -> None:
        await send(message)
        if message["type"] == "http.response.body" and not message["more_body"]:
            done.set_result(None)
            await asyncio.sleep(60)

    call._send = stay  # type: ignore[method-assign]
    calling = asyncio.create_task(call())
    await asyncio.wait_for(done, 5)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert call.sent[-1]["body"].startswith(b"event: done\n")
    assert counted(server) == {"200": 1}


def told(message: Message, *, stream: bool) -> dict[str, Any]:
    body = message["body"].decode()
    if stream:
        assert body.startswith("event: error\ndata: ")
        body = body.removeprefix("event: error\ndata: ")
    document: dict[str, Any] = json.loads(body)
    return document
