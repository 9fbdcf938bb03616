"""How many GPUs the engine takes by `--engine-args`, checked before anything is loaded.

vLLM splits the model by tensor and pipeline parallelism and copies it by data parallelism, with one
process per GPU, on the first GPUs of this machine. If there are too few, its error comes from a
child process after minutes of loading.
"""

import math
from dataclasses import dataclass
from typing import Any, Final, Self

from wise_serve.device import GpuError, device_of, list_gpus, workers_by_gpu
from wise_serve.reasoner.engine_args import EngineArgsError, read_engine_args
from wise_serve.settings import NO_REASONER, Settings

# Arguments that split a model into parts, and the one that copies it.
_CUTS: Final = (
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "prefill_context_parallel_size",
)
_COPIES: Final = "data_parallel_size"


@dataclass(frozen=True, slots=True)
class Parallel:
    """parts: number of GPUs over which one copy of the model is split. copies: number of copies."""

    parts: int = 1
    copies: int = 1

    @property
    def gpus(self) -> int:
        """Number of GPUs that the engine uses: cuda:0 and the following ones."""
        return self.parts * self.copies

    @classmethod
    def of(cls, arguments: dict[str, Any]) -> Self:
        """From the arguments of `--engine-args`. Raises EngineArgsError."""
        for name in (*_CUTS, _COPIES):
            value = arguments.get(name, 1)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise EngineArgsError(
                    f"--engine-args: '{name}' must be a whole number of 1 or more, not {value!r}."
                )
        parts = math.prod(arguments.get(name, 1) for name in _CUTS)
        return cls(parts, arguments.get(_COPIES, 1))


def parallel_of(settings: Settings) -> Parallel:
    """How the engine of these settings is distributed over GPUs. If `--engine-args` is invalid, as
    without it."""
    try:
        return Parallel.of(read_engine_args(settings.engine_args))
    except EngineArgsError:
        return Parallel()


def what_does_not_fit(settings: Settings) -> str:
    """Why this machine has too few GPUs for the engine and the segmenter; empty if it has enough.
    Raises EngineArgsError."""
    wanted = Parallel.of(read_engine_args(settings.engine_args))
    reasons = settings.reasoner != NO_REASONER
    if reasons and device_of(settings) == "cpu" and wanted.gpus > 1:
        return (
            f"--engine-args asks for {wanted.gpus} GPUs, and the models run on a CPU, where the "
            "engine is one process. Leave the parallel sizes out; docs/scaling.md says how several "
            "servers share the load."
        )
    named = max(workers_by_gpu(settings), default=-1)
    engine = wanted.gpus if reasons and device_of(settings) == "cuda" else 0
    if engine <= 1 and named < 1:
        return ""  # with one GPU at most, vLLM's own errors are clear
    try:
        present = len(list_gpus())
    except GpuError as error:
        return f"GPUs are asked for, but {error}."
    if engine > present:
        return (
            f"--engine-args asks for {engine} GPUs ({wanted.parts} for each of {wanted.copies} "
            f"copies of the model), and this machine shows {present}: lower "
            "'tensor_parallel_size' or 'data_parallel_size', or set CUDA_VISIBLE_DEVICES."
        )
    if named >= present:
        return (
            f"--segmenter-devices names cuda:{named}, and this machine shows {present} GPUs: "
            f"cuda:0 to cuda:{present - 1}."
        )
    return ""
