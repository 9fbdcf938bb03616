"""Whether the models fit into memory: computed from the size of their weights.

The rules are those of docs/operations.md, "Sizing by GPU memory".
"""

from pathlib import Path

from wise_serve.device import (
    batches_of,
    cache_bytes_of,
    segmenter_working_bytes,
    workers_by_gpu,
)
from wise_serve.preflight.checks import GIB, Check, Machine, size_text
from wise_serve.reasoner.parallel import parallel_of, what_does_not_fit

REASONER_WORKING_BYTES = 2 * GIB  # activations of one engine step, and a CUDA context
LEAST_KV_CACHE_BYTES = 2 * GIB
# On a CPU, as measured by `benchmarks/rehearsal.py`: the gateway and two processes with torch; and
# vLLM's second copy of the matrices of a vocabulary of 152,064 tokens, never more than the weights.
HOST_WORKING_BYTES = 7 * GIB // 2
VOCABULARY_COPY_BYTES = 5 * GIB // 2
REFINING_WORKING_BYTES = GIB  # without a reasoner: the gateway and one process with torch


def memory(machine: Machine) -> Check:
    """Check the memory of the GPUs, or of the host if the models run on a CPU."""
    reasoner, segmenter = machine.reasoner_bytes, machine.segmenter_bytes
    if reasoner is None or segmenter is None:
        return Check("memory", "warning", "unknown need", "Make the weights reachable first.")
    if machine.on_gpu and (machine.reasons or workers_by_gpu(machine.settings)):
        return _gpus_memory(machine, reasoner, segmenter)
    free = available_memory_bytes()
    if not machine.reasons:
        return _host_memory(
            segmenter + REFINING_WORKING_BYTES, free, "or choose a smaller --segmenter"
        )
    caches = machine.settings.kv_cache_bytes + machine.settings.engine_image_cache_bytes
    copied = min(reasoner, VOCABULARY_COPY_BYTES)
    need = reasoner + copied + segmenter + caches + HOST_WORKING_BYTES
    return _host_memory(need, free, "or lower --kv-cache-bytes or choose a smaller checkpoint")


def _host_memory(need: int, free: int, otherwise: str) -> Check:
    """need, free: bytes. otherwise: an alternative to freeing memory, for the advice."""
    found = f"{size_text(need)} needed, {size_text(free)} available"
    if free >= need:
        return Check("memory", "ok", found)
    return Check("memory", "failure", found, f"Free memory, {otherwise}.")


def _gpus_memory(machine: Machine, reasoner: int, segmenter: int) -> Check:
    """The check of the first GPU that is too small, or else of the first one that is used."""
    engine_need, engine_gpus = 0, range(0)
    used = sorted(workers_by_gpu(machine.settings))
    if machine.reasons:
        parallel = parallel_of(machine.settings)
        engine_gpus = range(parallel.gpus)
        engine_need = reasoner // parallel.parts + REASONER_WORKING_BYTES + LEAST_KV_CACHE_BYTES
        used = sorted({*engine_gpus, *used})
    if used[-1] >= len(machine.gpus):
        found = f"no cuda:{used[-1]} among {len(machine.gpus)} GPU(s)"
        return Check("memory", "failure", found, what_does_not_fit(machine.settings))
    checks = [
        _gpu_memory(machine, index, engine_need if index in engine_gpus else 0, segmenter)
        for index in used
    ]
    return next((check for check in checks if check.outcome != "ok"), checks[0])


def _gpu_memory(machine: Machine, index: int, engine_need: int, segmenter: int) -> Check:
    """Check one GPU. vLLM uses its share of the memory; the workers of SAM 2 use the rest.

    engine_need: bytes; 0 on a GPU without the engine. segmenter: bytes of one worker's weights.
    """
    settings, gpu = machine.settings, machine.gpus[index]
    batches = batches_of(settings)
    workers = workers_by_gpu(settings)[index]
    cache = cache_bytes_of(settings, gpu, f"cuda:{index}")
    segmenter_need = workers * (segmenter + segmenter_working_bytes(settings) + cache)
    engine_has = int(gpu.total_bytes * settings.gpu_memory_utilization) if engine_need else 0
    rest = gpu.total_bytes - engine_has
    engine = f"engine {size_text(engine_need)} of {size_text(engine_has)}, " if engine_need else ""
    found = (
        f"{gpu.name}: {size_text(gpu.total_bytes)}; {engine}SAM 2 "
        f"{size_text(segmenter_need)} of {size_text(rest)} for {workers} worker(s), each with "
        f"{size_text(cache)} of cached embeddings and batches of {batches.images} "
        f"images and {batches.prompts} prompts "
        "(estimated)"
    )
    if engine_need + segmenter_need > gpu.total_bytes:
        advice = (
            "The models do not fit: use a quantized (FP8) checkpoint, fewer --segmenter-workers "
            "or a larger GPU."
        )
    elif engine_need > engine_has or segmenter_need > rest:
        middle = (engine_need + (gpu.total_bytes - segmenter_need)) / 2 / gpu.total_bytes
        advice = f"Set --gpu-memory-utilization {middle:.2f}."
    elif gpu.free_bytes < engine_has + segmenter_need:
        used = size_text(gpu.total_bytes - gpu.free_bytes)
        advice = f"Other processes hold {used} of the GPU: end them (nvidia-smi lists them)."
    else:
        return Check("memory", "ok", found)
    return Check("memory", "failure", found, advice)


def available_memory_bytes(root: Path = Path("/")) -> int:
    """Memory that is available without swapping, bytes: this machine's (proc(5), MemAvailable), or
    what is left of this container's limit. root: where /proc and /sys are."""
    lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    available = int(fields["MemAvailable"].split()[0]) * 1024
    cgroups = root / "sys/fs/cgroup"
    return min(
        available,
        _left_of(cgroups / "memory.max", "memory.current", "inactive_file", available),
        _left_of(
            cgroups / "memory/memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
            available,
        ),
    )


def _left_of(limit: Path, usage: str, reclaimable: str, otherwise: int) -> int:
    """What is left of a container's limit, bytes; `otherwise` without a limit.

    usage: the file beside it that holds the bytes in use. reclaimable: the line of memory.stat that
    counts cached files, which the kernel drops when memory is short.
    """
    try:
        most = int(limit.read_text(encoding="ascii"))
        used = int(limit.with_name(usage).read_text(encoding="ascii"))
        lines = limit.with_name("memory.stat").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):  # no such version of cgroups, or "max"
        return otherwise
    cached = dict(line.split(" ", 1) for line in lines).get(reclaimable, "0")
    return max(0, most - used + int(cached))
