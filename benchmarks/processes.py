"""The processes of a running server, seen from outside: who they are, what they hold (/proc)."""

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
            return _stat(self.pid)[0] == "Z"
        except OSError:
            return True

    @property
    def rss_bytes(self) -> int:
        """Its resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    @property
    def cpu_s(self) -> float:
        """CPU seconds it has used, in user and kernel mode."""
        fields = _stat(self.pid)
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def descriptors(self) -> int:
        """How many it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

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
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(entry.name)] = int(_stat(int(entry.name))[1])
    found = {"gateway": Process(gateway, "gateway")}
    inside = {gateway}
    while more := {pid for pid, parent in parents.items() if parent in inside} - inside:
        inside |= more
    for pid in inside - {gateway}:
        with contextlib.suppress(OSError):
            process = Process(pid, _role(pid))
            if not process.gone:
                found[process.role] = process
    return found


def resident_bytes(gateway: int) -> int:
    """Resident memory of that server's processes; what they share counts in each."""
    return sum(process.rss_bytes for process in family(gateway).values())


def shared_memory() -> set[str]:
    """Names in /dev/shm."""
    return {path.name for path in _SHARED_MEMORY.iterdir()}


def wait_until(condition: Callable[[], bool], within_s: float) -> float:
    """Poll until `condition()`; the seconds it took. Raises TimeoutError."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > within_s:
            raise TimeoutError(f"not within {within_s} s")
        time.sleep(0.02)
    return time.monotonic() - started


def _stat(pid: int) -> list[str]:
    """State, parent and the rest."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def _role(pid: int) -> str:
    command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return next((role for part, role in _ROLES.items() if part in command), "other")
