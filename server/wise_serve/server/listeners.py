"""The sockets of a server with a second port for its operators, and the application behind each."""

import errno
import socket

from starlette.types import ASGIApp, Receive, Scope, Send

from wise_serve.settings import Settings


class ListenError(Exception):
    """An address cannot be used for listening; the text says which flag to change."""


def open_listeners(settings: Settings, backlog: int) -> list[socket.socket]:
    """The main socket and, with `--ops-port`, the operators', in this order.

    Opened before any model is started, so that a port in use costs a second and not a minute.
    Raises ListenError.
    """
    main = _listen("", settings.host, settings.port, backlog)
    if settings.ops_port is None:
        return [main]
    try:
        host = settings.ops_host or settings.host
        return [main, _listen("ops-", host, settings.ops_port, backlog)]
    except ListenError:
        main.close()
        raise


def _listen(prefix: str, host: str, port: int, backlog: int) -> socket.socket:
    """prefix: of the flags that give the host and the port. Raises ListenError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=backlog)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            advice = f"Another program listens there: end it, or choose another --{prefix}port."
        elif error.errno == errno.EACCES:
            advice = f"Ports below 1024 need privileges: choose a higher --{prefix}port."
        else:
            advice = f"--{prefix}host must be an address of this machine."
        text = error.strerror or "cannot be listened on"
        raise ListenError(f"{host}:{port}: {text}. {advice}") from None


class ByPort:
    """Two applications behind one server, chosen by the port that the request came to."""

    def __init__(self, main: ASGIApp, ops: ASGIApp, ops_port: int) -> None:
        self._main = main
        self._ops = ops
        self._ops_port = ops_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application of its port (ASGI)."""
        asked = (scope.get("server") or (None, None))[1]
        await (self._ops if asked == self._ops_port else self._main)(scope, receive, send)
