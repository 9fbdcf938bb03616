"""Whether the models fit into memory: computed from the size of their weights.

The rules are those of docs/operations.md, "Sizing by GPU memory".
"""

from pathlib import Path

from wise_serve.device import Gpu, cache_bytes_of, segmenter_working_bytes
from wise_serve.preflight.checks import GIB, Check, Machine, size_text
from wise_serve.settings import Settings

REASONER_WORKING_BYTES = 2 * GIB  # activations of one engine step, and a CUDA context
LEAST_KV_CACHE_BYTES = 2 * GIB
# On a CPU, as `benchmarks/rehearsal.py` measures them: the gateway and two processes with torch;
# and vLLM's second copy of the matrices of a vocabulary of 152,064 tokens, at most the weights.
HOST_WORKING_BYTES = 7 * GIB // 2
VOCABULARY_COPY_BYTES = 5 * GIB // 2


def memory(machine: Machine) -> Check:
    """Of the GPU, or of the host where the models run on a CPU."""
    reasoner, segmenter = machine.reasoner_bytes, machine.segmenter_bytes
    if reasoner is None or segmenter is None:
        return Check("memory", "warning", "unknown need", "Make the weights reachable first.")
    if machine.on_gpu:
        return _gpu_memory(machine.settings, machine.gpus[0], reasoner, segmenter)
    caches = machine.settings.kv_cache_bytes + machine.settings.engine_image_cache_bytes
    copied = min(reasoner, VOCABULARY_COPY_BYTES)
    need = reasoner + copied + segmenter + caches + HOST_WORKING_BYTES
    free = available_memory_bytes()
    found = f"{size_text(need)} needed, {size_text(free)} available"
    if free >= need:
        return Check("memory", "ok", found)
    advice = "Free memory, or lower --kv-cache-bytes or choose a smaller checkpoint."
    return Check("memory", "failure", found, advice)


def _gpu_memory(settings: Settings, gpu: Gpu, reasoner: int, segmenter: int) -> Check:
    """vLLM takes its share of the whole; SAM 2 gets what is left of it."""
    share = settings.gpu_memory_utilization
    engine_need = reasoner + REASONER_WORKING_BYTES + LEAST_KV_CACHE_BYTES
    cache = cache_bytes_of(settings, gpu)
    segmenter_need = segmenter + segmenter_working_bytes(settings) + cache
    engine_has = int(gpu.total_bytes * share)
    rest = gpu.total_bytes - engine_has
    found = (
        f"{gpu.name}: {size_text(gpu.total_bytes)}; engine {size_text(engine_need)} of "
        f"{size_text(engine_has)}, SAM 2 {size_text(segmenter_need)} of {size_text(rest)} "
        f"with {size_text(cache)} of cached embeddings and batches of {settings.encode_batch_size} "
        f"images and {settings.decode_batch_size} prompts (estimated)"
    )
    if engine_need + segmenter_need > gpu.total_bytes:
        advice = "The models do not fit: take a quantized (FP8) checkpoint or a larger GPU."
    elif engine_need > engine_has or segmenter_need > rest:
        middle = (engine_need + (gpu.total_bytes - segmenter_need)) / 2 / gpu.total_bytes
        advice = f"Set --gpu-memory-utilization {middle:.2f}."
    elif gpu.free_bytes < engine_has + segmenter_need:
        used = size_text(gpu.total_bytes - gpu.free_bytes)
        advice = f"Other processes hold {used} of the GPU: end them (nvidia-smi lists them)."
    else:
        return Check("memory", "ok", found)
    return Check("memory", "failure", found, advice)


def available_memory_bytes() -> int:
    """Memory of this machine that can be had without swapping (proc(5), MemAvailable)."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["MemAvailable"].split()[0]) * 1024
