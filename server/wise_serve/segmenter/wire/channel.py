"""A Unix stream socket for messages and file descriptors.

The worker's end blocks; the gateway's end uses asyncio."""

import asyncio
import contextlib
import os
import select
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from wise_serve.contract.errors import Overloaded
from wise_serve.segmenter.wire.messages import (
    FrameReader,
    FromWorker,
    Message,
    Open,
    ProtocolError,
    ToWorker,
    frame,
    from_worker_decoder,
    to_worker_decoder,
)

T = TypeVar("T")
_READ_BYTES = 256 * 1024
_MAX_DESCRIPTORS = 16  # in one read
_MAX_UNSENT = 4096  # messages


class WorkerChannel:
    """The worker's end. One thread receives; any thread sends."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._reader = FrameReader()
        # A descriptor arrives before or with the first byte of its frame, and in order.
        self._descriptors: deque[int] = deque()

    def send(self, message: Message) -> None:
        """Send; waits while the socket is full. Raises OSError when the gateway is gone."""
        data = frame(message)
        with self._sending:
            self._connection.sendall(data)

    def receive(self, timeout_s: float) -> Iterator[tuple[ToWorker, int | None]]:
        """Messages that came within the time, with the descriptor of each `Open`.

        Raises EOFError when the gateway is gone, ProtocolError if its data is not a message.
        """
        readable, _, _ = select.select([self._connection], [], [], timeout_s)
        if not readable:
            return
        data, descriptors, _, _ = socket.recv_fds(self._connection, _READ_BYTES, _MAX_DESCRIPTORS)
        self._descriptors += descriptors
        if not data:
            raise EOFError("the gateway closed the connection")
        for body in self._reader.feed(data):
            message = _decode(to_worker_decoder, body)
            if not isinstance(message, Open):
                yield message, None
            elif self._descriptors:
                yield message, self._descriptors.popleft()
            else:
                raise ProtocolError("an image came without its pixels")


class GatewayChannel:
    """The gateway's end, on the event loop that creates it.

    `on_message` is called with each message. `on_lost` is called once, when the worker is gone or
    sends data that is not a message. Neither is called after `close`.
    """

    def __init__(
        self,
        connection: socket.socket,
        on_message: Callable[[FromWorker], None],
        on_lost: Callable[[], None],
    ) -> None:
        connection.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._on_message, self._on_lost = on_message, on_lost
        self._reader = FrameReader()
        self._unsent: deque[tuple[memoryview, int | None]] = deque()
        self._closed = False
        self._loop.add_reader(connection, self._read)

    def send(self, message: Message, descriptor: int | None = None) -> None:
        """Send without waiting; closes the descriptor. Does nothing after `close`.

        Raises Overloaded when the worker has not read for thousands of messages.
        """
        if self._closed or len(self._unsent) >= _MAX_UNSENT:
            if descriptor is not None:
                os.close(descriptor)
            if self._closed:
                return
            raise Overloaded("The segmenter does not keep up.")
        self._unsent.append((memoryview(frame(message)), descriptor))
        if len(self._unsent) == 1:
            self._write()

    def close(self) -> None:
        """Close the socket and drop unsent messages. May be called several times."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._connection)
        self._loop.remove_writer(self._connection)
        self._connection.close()
        for _, descriptor in self._unsent:
            if descriptor is not None:
                os.close(descriptor)
        self._unsent.clear()

    def _write(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._unsent:
                data, descriptor = self._unsent[0]
                try:
                    if descriptor is None:
                        sent = self._connection.send(data)
                    else:
                        sent = socket.send_fds(self._connection, [data], [descriptor])
                        os.close(descriptor)
                except BlockingIOError:
                    raise
                except OSError:
                    self._lose()
                    return
                if sent == len(data):
                    self._unsent.popleft()
                else:
                    self._unsent[0] = (data[sent:], None)
        if self._unsent:
            self._loop.add_writer(self._connection, self._write)
        else:
            self._loop.remove_writer(self._connection)

    def _read(self) -> None:
        try:
            data = self._connection.recv(_READ_BYTES)
            if not data:
                raise EOFError
            messages = [_decode(from_worker_decoder, body) for body in self._reader.feed(data)]
        except BlockingIOError:
            return
        except (OSError, EOFError, ProtocolError):
            self._lose()
            return
        for message in messages:
            if not self._closed:
                self._on_message(message)

    def _lose(self) -> None:
        if not self._closed:
            self.close()
            self._on_lost()


def _decode(decoder: msgspec.msgpack.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as error:
        raise ProtocolError("not a message of this protocol") from error
