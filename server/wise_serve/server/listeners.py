"""The sockets of a server with a second port for its operators, and the application behind each."""

import socket

from starlette.types import ASGIApp, Receive, Scope, Send

from wise_serve.settings import Settings


def open_listeners(settings: Settings, backlog: int) -> list[socket.socket] | None:
    """The main socket and the operators', in this order. None without `--ops-port`: then uvicorn
    opens the only socket itself. Raises OSError."""
    if settings.ops_port is None:
        return None
    main = _listen(settings.host, settings.port, backlog)
    try:
        return [main, _listen(settings.ops_host or settings.host, settings.ops_port, backlog)]
    except OSError:
        main.close()
        raise


def _listen(host: str, port: int, backlog: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=backlog)


class ByPort:
    """Two applications behind one server, chosen by the port that the request came to."""

    def __init__(self, main: ASGIApp, ops: ASGIApp, ops_port: int) -> None:
        self._main = main
        self._ops = ops
        self._ops_port = ops_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = (scope.get("server") or (None, None))[1]
        await (self._ops if asked == self._ops_port else self._main)(scope, receive, send)
