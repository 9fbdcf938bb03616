"""Child processes end with the process that started them, however that one ends."""

import ctypes
import multiprocessing
import os
import signal

from wise_serve import collector

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with(parent: int) -> None:
    """The kernel kills this process when `parent`, its parent's process id, is gone; if it is gone
    already, this process ends here.

    The kernel looks at the thread that started this process: that one must live as long as its
    process does.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def vllm_plugin() -> None:
    """vLLM calls this in each of its processes, the gateway among them (entry point group
    `vllm.general_plugins`), after it has set its own signal handlers.

    Its engine core and workers do not look whether anyone is left; and on Ctrl-C, which a terminal
    sends to all of them, they would leave the gateway with requests to finish. Their garbage
    collector, at rest since `wise_serve.cli`, goes to work again.
    """
    if collector.in_child():
        collector.resume()
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        die_with(parent.pid)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
