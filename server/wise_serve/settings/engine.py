"""Settings of the reasoning engine, vLLM."""

from typing import ClassVar

from pydantic import BaseModel, Field


class EngineSettings(BaseModel):
    """Memory, batches and extras of vLLM."""

    title: ClassVar = "Reasoning engine"

    kv_cache_bytes: int = Field(2**30, ge=2**20, description="KV cache of the engine (CPU only).")
    gpu_memory_utilization: float = Field(
        0.80, gt=0, lt=1, description="Share of GPU memory that vLLM uses; SAM 2 needs the rest."
    )
    max_batched_tokens: int | None = Field(
        None,
        ge=256,
        description="Tokens of one engine step. Default: 4096 on a CPU, where 1024 and 16384 were "
        "no faster with the miniature; on a GPU by its memory: 8192 from 70 GiB on, 2048 below "
        "20 GiB, else 4096 (not measured on a GPU).",
    )
    engine_threads: int | None = Field(
        None,
        ge=1,
        description="Threads of the engine on a CPU. Default: all cores except those of the "
        "segmenter's threads. OMP_NUM_THREADS overrides it.",
    )
    engine_compile: bool = Field(
        False,
        description="Compile the model at start-up on a CPU: faster at rest, slower to start, "
        "and needs a C++ compiler. On a GPU vLLM always compiles.",
    )
    cpu_kernels: bool = Field(
        True,
        description="On a CPU: let the engine's layers use vLLM's C kernels for norms and rotary "
        "embeddings. Latency at rest is then about 0.85 times as high. It works only in float32, "
        "and not with --engine-compile.",
    )
    engine_image_cache_bytes: int = Field(
        2**30,
        ge=0,
        description="Memory for preprocessed images, kept for further queries about them.",
    )
    structured_answers: bool = Field(
        False,
        description="Force every answer into the form of the strategy's example. This costs a "
        "little time for every token, and a trained checkpoint rarely needs it.",
    )
    ngram_tokens: int = Field(
        0,
        ge=0,
        le=16,
        description="Tokens guessed at each step by copying text of the prompt; 0: none. It may be "
        "faster on a GPU with few requests in flight, if answers copy the prompt; slower on a CPU.",
    )
    engine_args: str = Field(
        "{}",
        description="Further arguments of vLLM's engine as a JSON object, by the names of its "
        'AsyncEngineArgs: {"quantization": "fp8", "tensor_parallel_size": 2}. Arguments that this '
        "server sets itself (model, image limits, sampling) are refused.",
    )
