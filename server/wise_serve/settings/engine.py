"""Settings of the reasoning engine, vLLM."""

from typing import ClassVar

from pydantic import BaseModel, Field


class EngineSettings(BaseModel):
    """Memory, batches and extras of vLLM."""

    title: ClassVar = "Reasoning engine"

    kv_cache_bytes: int = Field(2**30, ge=2**20, description="KV cache of the engine (CPU only).")
    gpu_memory_utilization: float = Field(
        0.80, gt=0, lt=1, description="Share of GPU memory that vLLM takes; SAM 2 needs the rest."
    )
    max_batched_tokens: int = Field(4096, ge=256, description="Tokens of one engine step.")
    engine_threads: int | None = Field(
        None,
        ge=1,
        description="Threads of an engine on a CPU. Default: all cores but the segmenter's "
        "threads. OMP_NUM_THREADS, where set, wins.",
    )
    engine_compile: bool = Field(
        False,
        description="Compile the model at start-up on a CPU: faster at rest, slower to start, "
        "and needs a C++ compiler. On a GPU vLLM always compiles.",
    )
    cpu_kernels: bool = Field(
        True,
        description="An engine on a CPU: normalize and rotate by vLLM's C kernels, which its "
        "layers leave unused there. Latency at rest falls to about 0.85 of what it is without. In "
        "float32 alone, and not with --engine-compile.",
    )
    engine_image_cache_bytes: int = Field(
        2**30,
        ge=0,
        description="Preprocessed images that the engine keeps, for further queries about them.",
    )
    structured_answers: bool = Field(
        False,
        description="Hold the model to the form of its strategy's answer: it can write nothing "
        "else. Costs a little at every token; a trained checkpoint seldom needs it.",
    )
    ngram_tokens: int = Field(
        0,
        ge=0,
        le=16,
        description="Tokens guessed at each step from what the prompt holds already; 0: none. "
        "May pay on a GPU at few requests in flight, if answers copy the prompt; slower on a CPU.",
    )
    engine_args: str = Field(
        "{}",
        description="Further arguments of vLLM's engine as a JSON object, by the names of its "
        'AsyncEngineArgs: {"quantization": "fp8", "tensor_parallel_size": 2}. What this server '
        "sets itself (model, image limits, sampling) is refused.",
    )
