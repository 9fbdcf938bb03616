"""The processes of a running server, seen from outside: their roles, memory and files.

psutil reports everything except the images in shared memory: it does not report memory files and
their inodes, so these are read from proc(5).
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_ROLES = {  # by what is found in the command line
    "wise_serve.segmenter.worker.main": "segmenter",
    "VLLM::EngineCore": "engine",
    "VLLM::Worker": "engine_worker",
    "resource_tracker": "resource_tracker",
}
_PIXELS = "memfd:wise-pixels"
_SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Process:
    """One process. `role`: gateway, engine, engine_worker, segmenter, resource_tracker, other."""

    pid: int
    role: str

    def signal(self, number: int) -> None:
        """Send it a signal; nothing happens if it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    @property
    def gone(self) -> bool:
        """Whether it has ended (a zombie has)."""
        try:
            return bool(psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True

    @property
    def rss_bytes(self) -> int:
        """Its resident memory. Raises ProcessLookupError if it is gone; so do the next two."""
        with _alive(self.pid) as process:
            return int(process.memory_info().rss)

    @property
    def cpu_s(self) -> float:
        """CPU seconds it has used, in user and kernel mode."""
        with _alive(self.pid) as process:
            times = process.cpu_times()
            return float(times.user + times.system)

    @property
    def descriptors(self) -> int:
        """How many files it has open."""
        with _alive(self.pid) as process:
            return int(process.num_fds())

    @property
    def shared_images(self) -> int:
        """Images whose pixels it holds in shared memory, as open or as mapped files."""
        inodes = set()
        for link in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if _PIXELS in str(link.readlink()):
                    inodes.add(link.stat().st_ino)
        for line in Path(f"/proc/{self.pid}/maps").read_text().splitlines():
            if _PIXELS in line:
                inodes.add(int(line.split()[4]))
        return len(inodes)


def family(gateway: int) -> dict[str, Process]:
    """The server whose gateway has this process id, by role; descendants included."""
    found = {"gateway": Process(gateway, "gateway")}
    children: list[psutil.Process] = []
    with contextlib.suppress(ProcessLookupError), _alive(gateway) as process:
        children = process.children(recursive=True)
    for child in children:
        with contextlib.suppress(ProcessLookupError), _alive(child.pid) as process:
            if process.status() != psutil.STATUS_ZOMBIE:
                role = _role(" ".join(process.cmdline()))
                found[role] = Process(child.pid, role)
    return found


def resident_bytes(gateway: int) -> int:
    """Resident memory of that server's processes, added; shared memory counts for each of them."""
    return sum(process.rss_bytes for process in family(gateway).values())


def shared_memory() -> set[str]:
    """Names in /dev/shm."""
    return {path.name for path in _SHARED_MEMORY.iterdir()}


def wait_until(condition: Callable[[], bool], within_s: float) -> float:
    """Poll until `condition()` is true; returns the seconds it took. Raises TimeoutError."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > within_s:
            raise TimeoutError(f"not within {within_s} s")
        time.sleep(0.02)
    return time.monotonic() - started


@contextlib.contextmanager
def _alive(pid: int) -> Iterator[psutil.Process]:
    """The process; raises ProcessLookupError if it is gone, or goes meanwhile."""
    try:
        yield psutil.Process(pid)
    except psutil.NoSuchProcess as error:
        raise ProcessLookupError(str(error)) from None


def _role(command: str) -> str:
    return next((role for part, role in _ROLES.items() if part in command), "other")
