"""uvicorn's HTTP protocol with deadlines, a limit on heads, and correct answers to HTTP/1.0 and to
offers of other protocols.

This is our own code because uvicorn waits for a request's head without a deadline or a size limit,
sends chunks to HTTP/1.0 clients, which read the chunks' sizes as content, and loses the body of a
request that offers another protocol.
"""

import asyncio
import socket
from http import HTTPStatus
from typing import Any, Final

import httptools
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Message
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from wise_serve.contract.errors import MalformedRequest, RequestTimeout
from wise_serve.http.problems import response_of

# Data that is not acknowledged for so long ends the connection (tcp(7), TCP_USER_TIMEOUT): the
# caller has vanished, or does not read.
_UNREAD_MS: Final = 30_000
_MOST_HEAD_BYTES: Final = 65_536  # of a head that arrives in pieces; the parser has no limit


class _Parser:
    """httptools' parser, ignoring offers of another protocol, such as `Upgrade: h2c` (RFC 9110,
    section 7.8).

    httptools ends a request that has one after its head. The head is then parsed once more, without
    the offer, and the body follows.
    """

    def __init__(self, protocol: "Punctual") -> None:
        self._protocol = protocol
        self._begin()

    def feed_data(self, data: bytes) -> None:
        """Called by uvicorn. Raises httptools.HttpParserError."""
        rest = memoryview(data)
        while rest:
            try:
                self._parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as offered:
                if not self.offers():
                    raise
                rest = rest[offered.args[0] :]
                head = self._protocol.head_without_offer()
                self._begin()  # after `Connection: close` the old one ignores all that follows
                self._parser.feed_data(head)

    def offers(self) -> bool:
        """Whether the request offers another protocol. CONNECT does not: it asks for a tunnel, and
        that method is not allowed here."""
        return self._parser.should_upgrade() and self._parser.get_method() != b"CONNECT"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def _begin(self) -> None:
        self._parser = httptools.HttpRequestParser(self._protocol)
        # As uvicorn does: a request can be answered although others follow its `Connection: close`.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)


class Punctual(HttpToolsProtocol):
    """Answers 408 to a head that is late; closes a connection that sends nothing at all.

    uvicorn itself limits only the time between an answer and the next request.
    """

    header_deadline_s: float
    parser: Any  # a _Parser; None when the connection is lost
    _overdue: asyncio.TimerHandle | None = None
    _head_bytes = 0  # received of a request's head that is not complete

    def connection_made(self, transport: Any) -> None:
        """Called by asyncio: start waiting for the first request's head."""
        self.parser = _Parser(self)
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_MS)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Called by asyncio: the deadline ends with a complete head, and so does its limit."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._have_head()
            return
        self._head_bytes += len(data)
        if self._head_bytes > _MOST_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("")
        elif self._overdue is None:
            self._wait_for_head()

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        if self.parser.offers():
            return  # it will be called again, for the head without the offer
        super().on_headers_complete()
        if self.cycle is not None and self.cycle.scope["http_version"] != "1.1":
            _speak_http_1_0(self.cycle)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        if not self.parser.offers():
            super().on_message_complete()

    def head_without_offer(self) -> bytes:
        """The head of the request that has just been parsed, without its `Upgrade`."""
        version = self.parser.get_http_version().encode()
        head = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        head += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join(head) + b"\r\n\r\n"

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio, once."""
        self._have_head()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """uvicorn's method, answering with a problem document."""
        error = MalformedRequest("This is not HTTP/1.1, or the head is too long.")
        self.transport.write(_as_bytes(response_of(error)))
        self.transport.close()

    def _wait_for_head(self) -> None:
        self._overdue = self.loop.call_later(self.header_deadline_s, self._close)

    def _have_head(self) -> None:
        self._head_bytes = 0
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None

    def _close(self) -> None:
        if self.transport.is_closing():
            return
        if self._head_bytes:
            error = RequestTimeout("The request's headers did not arrive in time.")
            self.transport.write(_as_bytes(response_of(error)))
        self.transport.close()


def make_protocol(header_deadline_s: float) -> type[asyncio.Protocol]:
    """uvicorn's protocol; a request's line and headers must be complete in `header_deadline_s`."""
    made: type[asyncio.Protocol] = type(
        Punctual.__name__, (Punctual,), {"header_deadline_s": header_deadline_s}
    )
    return made


def _speak_http_1_0(cycle: Any) -> None:
    """No chunks (RFC 9112, section 6.1): an answer without Content-Length ends with the connection,
    which uvicorn closes after every HTTP/1.0 request. No `100 Continue` either (RFC 9110, 10.1.1).
    """
    send = cycle.send
    unsized = False

    async def send_unchunked(message: Message) -> None:
        nonlocal unsized
        if message["type"] == "http.response.start":
            unsized = "content-length" not in Headers(raw=message["headers"])
            if unsized:
                cycle.chunked_encoding = False
        elif unsized:
            # uvicorn compares the length of the sent data with the announced length: announce each
            # piece.
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    cycle.send = send_unchunked
    cycle.waiting_for_100_continue = False


def _as_bytes(response: Response) -> bytes:
    response.headers["Connection"] = "close"
    status = HTTPStatus(response.status_code)
    head = [b"HTTP/1.1 %d %s" % (status, status.phrase.encode())]
    head += [b"%s: %s" % header for header in response.raw_headers]
    return b"\r\n".join(head) + b"\r\n\r\n" + bytes(response.body)
