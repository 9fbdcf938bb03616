"""A way to a server that can be shut, as if the server went away and came back."""

import contextlib
import socket
import socketserver
import threading
from typing import Any
from urllib.parse import urlsplit


class Door:
    """Forwards connections to `url`; while it is shut, it ends each of them at once."""

    def __init__(self, url: str) -> None:
        self._live: set[socket.socket] | None = set()  # None: shut
        there = (urlsplit(url).hostname or "", urlsplit(url).port or 80)
        door = self

        class Way(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                if door._live is None:
                    return
                with socket.create_connection(there) as onward:
                    door._live.add(onward)
                    back = threading.Thread(target=_copy, args=(onward, self.request))
                    back.start()
                    _copy(self.request, onward)
                    back.join()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Way)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def shut(self) -> None:
        live, self._live = self._live or set(), None
        for one in live:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        self._live = set()

    def __enter__(self) -> "Door":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while content := source.recv(65536):
            target.sendall(content)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
