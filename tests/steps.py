"""Events that a script can put in place of the application's own answer to a request."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_REQUEST_ID = {"X-Request-Id": "srv-7"}


def event(name: str, document: Any) -> bytes:
    """One event of a stream."""
    return f"event: {name}\ndata: {json.dumps(document)}\n\n".encode()


@dataclass
class Exchange:
    """One request whose body has been read, on its way to the application."""

    app: ASGIApp
    scope: Scope
    receive: Receive
    send: Send
    close: Callable[[tuple[str, int]], None]

    async def answer(self) -> None:
        """The application's own answer."""
        await self.app(self.scope, self.receive, self.send)

    async def reply(self, response: Response) -> None:
        await response(self.scope, self.receive, self.send)

    async def hang_up(self) -> None:
        """Close the connection, whatever was sent."""
        self.close(self.scope["client"])
        while (await self.receive())["type"] != "http.disconnect":
            pass


class Step(Protocol):
    """One entry of a script."""

    async def play(self, exchange: Exchange) -> None:
        """Answer, or do not."""


@dataclass
class Problem:
    """Answer with a problem document; `told` overrides or adds members."""

    status: int
    code: str
    retry_after: str | None = None
    told: dict[str, Any] = field(default_factory=dict)

    async def play(self, exchange: Exchange) -> None:
        document = {"type": "about:blank", "title": "A title", "status": self.status}
        document |= {"detail": "A detail", "code": self.code, "request_id": "srv-7"} | self.told
        more = {"Retry-After": self.retry_after} if self.retry_after else {}
        content = json.dumps(document)
        headers = _REQUEST_ID | more
        await exchange.reply(
            Response(content, self.status, headers, media_type="application/problem+json")
        )


@dataclass
class Raw:
    """Answer with these bytes."""

    status: int
    body: bytes
    content_type: str = "text/html"

    async def play(self, exchange: Exchange) -> None:
        headers = _REQUEST_ID | {"Content-Type": self.content_type}
        await exchange.reply(Response(self.body, self.status, headers))


class Disconnect:
    """Close the connection, answer nothing."""

    async def play(self, exchange: Exchange) -> None:
        await exchange.hang_up()


class CutBody:
    """Answer a part of a body, then close."""

    async def play(self, exchange: Exchange) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
        await exchange.send({"type": "http.response.start", "status": 200, "headers": headers})
        part: Message = {"type": "http.response.body", "body": b'{"id": ', "more_body": True}
        await exchange.send(part)
        await exchange.hang_up()


@dataclass
class Slow:
    """The application's answer, after a while."""

    seconds: float

    async def play(self, exchange: Exchange) -> None:
        await asyncio.sleep(self.seconds)
        await exchange.answer()


@dataclass
class Change:
    """The application's JSON document, changed as another server or version might have it."""

    change: Callable[[dict[str, Any]], Any]

    async def play(self, exchange: Exchange) -> None:
        body = b""

        async def keep(message: Message) -> None:
            nonlocal body
            body += message.get("body", b"")

        await exchange.app(exchange.scope, exchange.receive, keep)
        content = json.dumps(self.change(json.loads(body)))
        await exchange.reply(Response(content, 200, _REQUEST_ID, media_type="application/json"))


@dataclass
class Stream:
    """Answer with these event-stream bytes, in chunks of `chunk` bytes; `cut`: then break."""

    body: bytes
    chunk: int = 7
    cut: bool = False

    async def play(self, exchange: Exchange) -> None:
        starts = range(0, len(self.body), self.chunk)

        async def pieces() -> Any:
            for start in starts:
                yield self.body[start : start + self.chunk]
            if self.cut:
                await exchange.hang_up()

        media_type = "text/event-stream"
        await exchange.reply(StreamingResponse(pieces(), 200, _REQUEST_ID, media_type))
