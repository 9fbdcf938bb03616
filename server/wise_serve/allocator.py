"""tcmalloc for the models' processes on a CPU.

torch makes and drops tensors of ever other sizes there. glibc's heap takes them between what stays,
falls apart and grows for hours; tcmalloc keeps them by size (docs/decisions/0015).
"""

import ctypes.util
import functools
import shutil
from collections.abc import Mapping
from typing import Final

from wise_serve.settings import Settings

VARIABLE: Final = "LD_PRELOAD"  # ld.so(8)
PACKAGE: Final = "libtcmalloc-minimal4"  # Debian's and Ubuntu's name
_LIBRARIES: Final = ("tcmalloc_minimal", "tcmalloc")
_ALLOCATORS: Final = ("tcmalloc", "jemalloc", "mimalloc")


def wanted(settings: Settings) -> bool:
    """Whether the models run on a CPU, and no one has said no."""
    on_cpu = settings.device == "cpu" or (
        settings.device == "auto" and shutil.which("nvidia-smi") is None
    )
    return settings.tcmalloc and on_cpu


@functools.cache  # asks other programs, and a worker that is lost under load is started again
def installed() -> str | None:
    """The library's name for the loader, such as `libtcmalloc_minimal.so.4`; None without one."""
    found = map(ctypes.util.find_library, _LIBRARIES)
    return next((name for name in found if name is not None), None)


def preloading(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """What to set in `environment` for a process that is about to start: nothing where tcmalloc is
    not wanted or not installed, or where an allocator is named already."""
    before = environment.get(VARIABLE, "")
    if not wanted(settings) or any(name in before for name in _ALLOCATORS):
        return {}
    library = installed()
    return {} if library is None else {VARIABLE: f"{library}:{before}".rstrip(":")}
