"""Lets a caller see the answer to a request whose body was not read to its end.

Closing a connection on which bytes still arrive resets it, and the reset may overtake the answer.
So the answer goes out at once and whole, with `Connection: close`; what still comes is thrown away
for a short while, and then the connection ends. A small body that has arrived already is read
instead, and the connection stays.
"""

import asyncio
from contextlib import suppress
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LINGER_S: Final = 5.0
_SMALL_BYTES: Final = 65_536


class Lingering:
    """The outermost layer: all that is inside has ended while it lingers."""

    def __init__(self, app: ASGIApp, limit_bytes: int) -> None:
        """`limit_bytes`: thrown away of one request at most."""
        self._app = app
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _has_body(headers := Headers(scope=scope)):
            asked = "expect" in headers  # then the body waits for a word that reading would send
            exchange = _Exchange(receive, send, self._limit_bytes, may_read=not asked)
            receive, send = exchange.receive, exchange.send
        await self._app(scope, receive, send)


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _server_ends() -> bool:
    """Whether uvicorn has cancelled this request: then there is no time left to linger in, and
    closing at once is what may still bring the answer over."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class _Exchange:
    """One request with a body, and its answer."""

    def __init__(self, receive: Receive, send: Send, limit_bytes: int, *, may_read: bool) -> None:
        self._receive = receive
        self._send = send
        self._limit_bytes = limit_bytes
        self._may_read = may_read
        self._complete = False  # read to its end, or the caller is gone
        self._lingers = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._complete = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if self._may_read:
                await self._read_what_is_there()
            if not self._complete:
                self._lingers = True
                MutableHeaders(scope=message)["Connection"] = "close"
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if last and self._lingers and not _server_ends():
            await self._send({**message, "more_body": True})
            await self._discard()
            message = {"type": "http.response.body"}
        await self._send(message)

    async def _read_what_is_there(self) -> None:
        read = 0
        while not self._complete and read < _SMALL_BYTES:
            reading = asyncio.ensure_future(self.receive())
            await asyncio.sleep(0)  # one step: enough for what has been received
            if not reading.done():
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
                return
            read += len(reading.result().get("body", b""))

    async def _discard(self) -> None:
        left = self._limit_bytes
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                while not self._complete and left > 0:
                    left -= len((await self.receive()).get("body", b""))
