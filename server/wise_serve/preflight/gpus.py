"""Facts about the GPUs, from the driver's own tool: no CUDA library is loaded for them."""

import csv
import shutil
import subprocess
from dataclasses import dataclass

_QUERY = "name,driver_version,memory.total,memory.free"
_TIMEOUT_S = 20.0
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as the driver sees it."""

    name: str
    driver: str
    total_bytes: int
    free_bytes: int


class GpuError(Exception):
    """No GPU can be listed; the text says why."""


def list_gpus() -> list[Gpu]:
    """The GPUs, at least one. Raises GpuError."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        raise GpuError("no nvidia-smi, so no NVIDIA driver")
    command = [tool, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        raise GpuError("nvidia-smi does not answer") from None
    if done.returncode != 0:
        first = (done.stdout + done.stderr).strip().partition("\n")[0]
        raise GpuError(f"nvidia-smi failed: {first}")
    gpus = [_read(row) for row in csv.reader(done.stdout.splitlines(), skipinitialspace=True)]
    if not gpus:
        raise GpuError("the driver sees no GPU")
    return gpus


def _read(row: list[str]) -> Gpu:
    try:
        name, driver, total, free = row
        return Gpu(name, driver, int(total) * _MIB, int(free) * _MIB)
    except ValueError:
        raise GpuError("nvidia-smi wrote something that cannot be read") from None
