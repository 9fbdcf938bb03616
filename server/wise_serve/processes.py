"""The models' processes: which memory allocator they use, when they end, how they start quickly.

Four rules for vLLM's engine core and the segmenter workers:

- they count GPUs in the order in which the gateway lists them (`wise_serve.device`);
- on a CPU they use tcmalloc if it is installed (docs/decisions/0015);
- the kernel ends them when the gateway is gone (docs/decisions/0009);
- Python's garbage collector is paused while they import torch and vLLM: the imports create a
million permanent objects, and the collector would visit them again and again, which takes a second
of each start (docs/performance.md).
"""

import ctypes
import ctypes.util
import functools
import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from typing import Final

from wise_serve.device import ORDER_VARIABLE, PCI_ORDER, device_of
from wise_serve.settings import Settings

PRELOAD_VARIABLE: Final = "LD_PRELOAD"  # ld.so(8)
TCMALLOC_PACKAGE: Final = "libtcmalloc-minimal4"  # Debian's and Ubuntu's name
_TCMALLOC_LIBRARIES: Final = ("tcmalloc_minimal", "tcmalloc")
_ALLOCATORS: Final = ("tcmalloc", "jemalloc", "mimalloc")
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def wants_tcmalloc(settings: Settings) -> bool:
    """Whether the models run on a CPU and `--no-tcmalloc` was not given."""
    return settings.tcmalloc and device_of(settings) == "cpu"


@functools.cache  # runs other programs, and a worker that is lost under load is started again
def find_tcmalloc() -> str | None:
    """The library's name for the loader, such as `libtcmalloc_minimal.so.4`; None without one."""
    found = map(ctypes.util.find_library, _TCMALLOC_LIBRARIES)
    return next((name for name in found if name is not None), None)


def model_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables to add to `environment` for a model's process that is about to start: the order of
    GPUs, unless it is set there, and the allocator."""
    order = {} if ORDER_VARIABLE in environment else {ORDER_VARIABLE: PCI_ORDER}
    return order | allocator_environment(settings, environment)


def allocator_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """The variable that preloads tcmalloc.

    Empty where tcmalloc is not wanted or not installed, or where `environment` names an allocator
    already.
    """
    before = environment.get(PRELOAD_VARIABLE, "")
    if not wants_tcmalloc(settings) or any(name in before for name in _ALLOCATORS):
        return {}
    library = find_tcmalloc()
    return {} if library is None else {PRELOAD_VARIABLE: f"{library}:{before}".rstrip(":")}


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent, process id `parent`, is gone.

    Ends this process at once if the parent is gone already. The kernel watches the thread that
    started this process: that thread must live as long as the parent does.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def pause_collector() -> None:
    """Stop automatic garbage collection until `resume_collector`."""
    gc.disable()


def resume_collector() -> None:
    """Start automatic garbage collection again; it ignores the objects that exist now."""
    gc.freeze()
    gc.enable()


def in_child() -> bool:
    """Whether `multiprocessing` spawned this process, as it does vLLM's engine core."""
    return "--multiprocessing-fork" in sys.orig_argv


def vllm_plugin() -> None:
    """vLLM calls this in each of its processes, the gateway included, after it has set its own
    signal handlers (entry point group `vllm.general_plugins`).

    vLLM's engine core and workers do not notice that the gateway is gone: `die_with` ends them.
    They ignore SIGINT, which a terminal's Ctrl-C sends to every process, so that the gateway can
    finish its requests first. Their garbage collector, paused by `wise_serve.cli`, runs again.
    """
    if in_child():
        resume_collector()
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        die_with(parent.pid)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
