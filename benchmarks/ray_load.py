"""Images for the benchmarks on Ray, and the processor time of Ray's processes."""

import contextlib
import io
import os
from collections import defaultdict
from typing import Any, Final

import numpy as np
import psutil
from PIL import Image

from ray_cluster import APPLICATION

SIDE_PIXELS: Final = 256
# What a process's command line holds, and what it is called here. "callers" is this process: the
# callers, and Ray's driver, which rests meanwhile.
_KINDS: Final = {
    f"ray::ServeReplica:{APPLICATION}:Ingress": "ingress",
    f"ray::ServeReplica:{APPLICATION}:Reasoner": "reasoner",
    f"ray::ServeReplica:{APPLICATION}:Segmenter": "segmenter",
    "ProxyActor": "proxy",
}


class Used:
    """Processor time of this process and all its children from when this is made, by kind."""

    def __init__(self) -> None:
        own = psutil.Process()
        self._kinds = {one: _kind(one) for one in [own, *own.children(recursive=True)]}
        self._before = {one: _processor_s(one) for one in self._kinds}

    def ms_a_request(self, count: int) -> dict[str, float]:
        """Milliseconds by kind of process, `all` of them together. "ray" is what Ray runs besides:
        raylet, GCS, controller, log monitor, agents, and the board of metrics."""
        used: dict[str, float] = defaultdict(float)
        for process, kind in self._kinds.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                used[kind] += (_processor_s(process) - self._before[process]) / count * 1000
        return {**used, "all": sum(used.values())}


def _kind(process: psutil.Process) -> str:
    if process.pid == os.getpid():
        return "callers"
    with contextlib.suppress(psutil.NoSuchProcess):
        command = " ".join(process.cmdline())
        return next((kind for part, kind in _KINDS.items() if part in command), "ray")
    return "ray"


def _processor_s(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        return float(sum(process.cpu_times()[:2]))
    return 0.0


def small_images(count: int, seed: int) -> list[dict[str, Any]]:
    """Requests about different images of SIDE_PIXELS."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        data = io.BytesIO()
        Image.fromarray(coarse).resize((SIDE_PIXELS, SIDE_PIXELS)).save(data, "JPEG")
        files = {"image": ("a.jpg", data.getvalue())}
        made.append({"files": files, "data": {"query": "the square"}})
    return made
