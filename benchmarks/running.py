"""A real server in a process of its own, for benchmarks and end-to-end tests."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

READY_WITHIN_S = 300.0
STOP_WITHIN_S = 40.0
_SERVE = ("-m", "wise_serve", "serve", "--port", "0")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class RunningServer:
    """A server that runs. url: its address. process: its process, which `running_server` ends.

    log: the file of its standard error."""

    url: str
    process: subprocess.Popen[str]
    log: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid


@contextmanager
def running_server(
    *flags: str,
    script: Path | None = None,
    ready_within_s: float = READY_WITHIN_S,
    **environment: str,
) -> Iterator[RunningServer]:
    """`wise-serve serve` on a free loopback port, or `script`; ended by its own pid.

    Raises RuntimeError with the end of its log if it is not ready within `ready_within_s`.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, *(_SERVE if script is None else (str(script),)), *flags],
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **environment},
                text=True,
            )
        try:
            yield RunningServer(_wait_ready(process, log, ready_within_s), process, log)
        finally:
            _end(process)


def _wait_ready(process: subprocess.Popen[str], log: Path, within_s: float) -> str:
    late = threading.Timer(within_s, process.kill)
    late.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"ready at (http://\S+)", line):
                threading.Thread(target=process.stdout.read, daemon=True).start()
                return found[1]
    finally:
        late.cancel()
    raise RuntimeError(f"The server did not get ready:\n{log.read_text()[-4000:]}")


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
