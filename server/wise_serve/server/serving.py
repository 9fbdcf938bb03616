"""Runs the application under uvicorn: the signals, the drain, the lines printed when ready."""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from types import FrameType

import uvicorn
from opentelemetry.trace import Tracer
from starlette.types import ASGIApp

from wise_serve.http.access import Access, make_access
from wise_serve.http.app import build_app, build_ops_app
from wise_serve.observe import logs
from wise_serve.observe.traces import NO_TRACER
from wise_serve.pipeline.runtime import Runtime
from wise_serve.server.connections import make_protocol
from wise_serve.server.listeners import ByPort, ListenError, open_listeners

_EXIT_FAILED = 1
_KEEP_ALIVE_S = 30
_CUT_OFF_S = 1  # to answer requests that still run when the drain's deadline has passed
_STOP_S = 25.0  # for everything after the drain
_LOADING_STOP_S = 2.0  # the same while models load, since loading cannot be interrupted
_BACKLOG = 1024


class DrainingServer(uvicorn.Server):
    """On the first SIGTERM or SIGINT: answer new requests and readiness probes with 503, finish the
    accepted requests, then end with status 0. On the second: end at once, with status 1; the kernel
    ends the models' processes (see `wise_serve.processes`).

    This is our own code because uvicorn closes the listening socket first: then a load balancer
    would see refused connections instead of a 503.
    """

    def __init__(self, config: uvicorn.Config, runtime: Runtime, access: Access) -> None:
        super().__init__(config)
        self.failed = False
        self._signalled = False
        self._ready = False
        self._runtime, self._access = runtime, access
        self._drain: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the sockets and start the models; called by uvicorn."""
        self._loop = asyncio.get_running_loop()
        logs.watch(self._loop)
        if (
            self._access.needs_key
        ):  # without keys SIGHUP ends the process, as when a terminal is closed
            self._loop.add_signal_handler(signal.SIGHUP, self._access.reload)
        await super().startup(sockets)
        if self.started:  # probes are answered from here on, while the models load
            logs.event(logging.INFO, "listening", {"addresses": list(map(_address, self.servers))})
        self._announce()

    def models_ready(self) -> None:
        """Both models answer. Prints the address as soon as the socket listens, too."""
        self._ready = True
        self._announce()

    def _announce(self) -> None:
        if self.started and self._ready:
            addresses = [_address(listener) for listener in self.servers]
            print(_greeting(*addresses), flush=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the drain at the first signal; at the second end the process."""
        if self._signalled or self._loop is None:
            os._exit(_EXIT_FAILED)
        self._signalled = True
        self._loop.call_soon_threadsafe(self._begin_drain)

    def fail(self) -> None:
        """End with status 1, so that a supervisor notices."""
        self.failed = True
        self.should_exit = True

    def _begin_drain(self) -> None:
        if self._drain is None:
            self._drain = asyncio.create_task(self._finish())

    async def _finish(self) -> None:
        admission, settings = self._runtime.admission, self._runtime.settings
        admission.drain()
        logs.event(logging.INFO, "draining", {"inflight": admission.inflight})
        try:
            async with asyncio.timeout(settings.drain_deadline_s):
                await admission.idle()
        except TimeoutError:
            left = {"inflight": admission.inflight}
            logs.event(logging.WARNING, "drain deadline passed, requests are cut off", left)
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish the requests and stop the models; a timer ends the process if that hangs."""
        loading = not (self._ready or self.failed)
        end = threading.Timer(
            _LOADING_STOP_S if loading else _STOP_S, _end_hard, (0 if loading else _EXIT_FAILED,)
        )
        end.daemon = True
        end.start()
        await super().shutdown(sockets)


def _end_hard(status: int) -> None:
    """End the process although something hangs: a model's library, a device, a trace collector."""
    logs.event(logging.WARNING, "the server did not stop in time and is ended", {"status": status})
    os._exit(status)


def serve(runtime: Runtime, tracer: Tracer = NO_TRACER) -> int:
    """Serve until a signal comes or the models cannot be started; the process's exit status.

    Raises AccessError, before anything is started.
    """
    settings, access = runtime.settings, make_access(runtime.settings)
    logs.configure(settings.log_level)
    try:
        sockets = open_listeners(settings, _BACKLOG)
    except ListenError as error:
        return _failed(str(error))
    app: ASGIApp = build_app(runtime, access, tracer)
    if settings.ops_port is not None:
        app = ByPort(app, build_ops_app(runtime), sockets[1].getsockname()[1])
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_CUT_OFF_S,
        backlog=_BACKLOG,
        http=make_protocol(settings.header_deadline_s),
        ws="none",  # nothing here speaks WebSocket
    )
    server = DrainingServer(config, runtime, access)
    runtime.lifecycle.on_ready = server.models_ready
    runtime.lifecycle.on_failed = server.fail
    server.run(sockets)
    if runtime.lifecycle.failure:
        return _failed(runtime.lifecycle.failure)
    return _EXIT_FAILED if server.failed or not server.started else 0


def _failed(reason: str) -> int:
    """One line that a person reads last, after the log; the exit status."""
    print(f"wise-serve: {reason}", file=sys.stderr, flush=True)
    return _EXIT_FAILED


def _address(listener: asyncio.Server) -> str:
    host, port = listener.sockets[0].getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"


def _example() -> str:
    """The packaged example image, as a path from here if it lies below."""
    path = Path(__file__).parents[1] / "playground" / "example.jpg"
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _greeting(address: str, ops: str | None = None) -> str:
    apart = "" if ops is None else f"\nMetrics and probes are at {ops}"
    return (
        f"\nwise-serve is ready at {address}  (page: {address}/  API: {address}/docs){apart}\n"
        f"Try it:\n\n"
        f"  curl -s {address}/segment -F image=@{_example()} -F query='the red circle'\n"
    )
