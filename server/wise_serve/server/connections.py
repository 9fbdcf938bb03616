"""uvicorn's HTTP protocol, with limits of time for what it waits for without any."""

import asyncio
import socket
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import Response
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from wise_serve.contract.errors import MalformedRequest, RequestTimeout
from wise_serve.http.problems import response_of

# Bytes that are sent and not taken for so long end the connection (tcp(7), TCP_USER_TIMEOUT). It
# ends those whose caller has vanished without a word, and those whose caller does not read.
_UNREAD_MS: Final = 30_000
_MOST_HEAD_BYTES: Final = 65_536  # of a head that comes in pieces; the parser has no limit


def make_protocol(header_deadline_s: float) -> type[asyncio.Protocol]:
    """uvicorn's protocol; a request's line and headers must be whole in `header_deadline_s`."""

    class Punctual(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        """Answers 408 to half a head, and closes a connection that sends nothing at all.

        uvicorn itself has a limit only for the time between an answer and the next request.
        """

        _overdue: asyncio.TimerHandle | None = None
        _head_bytes = 0  # of a request's head that is not whole yet

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            connection = transport.get_extra_info("socket")
            if connection is not None and connection.family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_MS)
            self._wait_for_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._have_head()
                return
            self._head_bytes += len(data)
            if self._head_bytes > _MOST_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("")
            elif self._overdue is None:
                self._wait_for_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._have_head()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            """uvicorn's, in the form of all refusals."""
            error = MalformedRequest("This is not HTTP/1.1, or the head is too long.")
            self.transport.write(_as_bytes(response_of(error)))
            self.transport.close()

        def _wait_for_head(self) -> None:
            self._overdue = self.loop.call_later(header_deadline_s, self._close)

        def _have_head(self) -> None:
            self._head_bytes = 0
            if self._overdue is not None:
                self._overdue.cancel()
                self._overdue = None

        def _close(self) -> None:
            if self.transport.is_closing():
                return
            if self._head_bytes:
                error = RequestTimeout("The request's headers did not arrive in their time.")
                self.transport.write(_as_bytes(response_of(error)))
            self.transport.close()

    return Punctual


def _as_bytes(response: Response) -> bytes:
    response.headers["Connection"] = "close"
    status = HTTPStatus(response.status_code)
    head = [b"HTTP/1.1 %d %s" % (status, status.phrase.encode())]
    head += [b"%s: %s" % header for header in response.raw_headers]
    return b"\r\n".join(head) + b"\r\n\r\n" + bytes(response.body)
