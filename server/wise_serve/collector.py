"""The garbage collector rests while a process starts.

Importing torch and vLLM makes a million objects that stay, and the collector walks over them again
and again meanwhile: a second of each process's start (docs/performance.md).
"""

import gc
import sys


def pause() -> None:
    """Collect nothing from here on."""
    gc.disable()


def resume() -> None:
    """Collect again; what is there by now is never looked at any more."""
    gc.freeze()
    gc.enable()


def in_child() -> bool:
    """Whether `multiprocessing` started this process anew, as it does vLLM's engine core."""
    return "--multiprocessing-fork" in sys.orig_argv
