"""Lets a caller see the answer to a request whose body was not read to its end: a lingering close.

This is our own code because uvicorn closes the connection at once. Closing a connection on which
data still arrives resets it, and the caller may get the reset instead of the answer. So the answer
is sent at once and whole, with `Connection: close`; data that still arrives is discarded for a
short time (RFC 9112, section 9.6), and then the connection is closed. A small body that has already
arrived is read instead, and the connection stays open.
"""

import asyncio
from contextlib import suppress
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LINGER_S: Final = 5.0
_SMALL_BYTES: Final = 65_536


class Lingering:
    """The outermost layer: while it lingers, everything inside it has ended and holds no slot."""

    def __init__(self, app: ASGIApp, limit_bytes: int) -> None:
        """`limit_bytes`: how much of one request's body is discarded at most."""
        self._app = app
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; linger after an answer to an unread body (ASGI)."""
        if scope["type"] == "http" and _has_body(headers := Headers(scope=scope)):
            asked = (
                "expect" in headers
            )  # reading would send `100 Continue`, which asks for the body
            exchange = _Exchange(receive, send, self._limit_bytes, may_read=not asked)
            receive, send = exchange.receive, exchange.send
        await self._app(scope, receive, send)


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _server_ends() -> bool:
    """Whether uvicorn has cancelled this request to shut down. Then there is no time to linger, and
    the answer is most likely to arrive if the connection is closed at once."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class _Exchange:
    """One request with a body, and its answer."""

    def __init__(self, receive: Receive, send: Send, limit_bytes: int, *, may_read: bool) -> None:
        self._receive = receive
        self._send = send
        self._limit_bytes = limit_bytes
        self._may_read = may_read
        self._complete = False  # the body was read to its end, or the caller has left
        self._lingers = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._complete = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if self._may_read:
                await self._read_what_has_arrived()
            if not self._complete:
                self._lingers = True
                MutableHeaders(scope=message)["Connection"] = "close"
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if last and self._lingers and not _server_ends():
            await self._send({**message, "more_body": True})
            await self._discard()
            message = {"type": "http.response.body"}
        await self._send(message)

    async def _read_what_has_arrived(self) -> None:
        read = 0
        while not self._complete and read < _SMALL_BYTES:
            reading = asyncio.ensure_future(self.receive())
            await asyncio.sleep(0)  # one step of the event loop: enough for data already received
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
