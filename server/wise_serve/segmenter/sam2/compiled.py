"""A stage of SAM 2 compiled for fixed shapes, all of them before the first request.

Each shape is compiled separately and statically, because the encoder's outputs were wrong with a
dynamic batch. See docs/decisions/0012-levers-of-the-segmenter.md for this and other problems.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from wise_serve.segmenter.sam2.buckets import BatchedStage, Bucketed, bucket_sizes

Stance = Literal["eager_on_recompile", "fail_on_recompile"]
# While serving. Otherwise a failed guard would start a compile, and the device would wait for it.
SERVING: Stance = "eager_on_recompile"


@dataclass(frozen=True, slots=True)
class Compiler:
    """How to compile, and for which batches: 1, 2, 4, ... up to each limit.

    points: the numbers of points for which decoding is compiled. mode: of torch.compile;
    "reduce-overhead" captures CUDA graphs. backend: of torch.compile.
    """

    encode_batch_size: int
    decode_batch_size: int
    points: tuple[int, ...] = (1, 2)
    mode: str | None = None
    backend: str | Callable[..., Any] = "inductor"


def compiler_for(device: torch.device, encode_batch_size: int, decode_batch_size: int) -> Compiler:
    """The compiler for a device: captured graphs on CUDA, plain compiled code on a CPU."""
    mode = "reduce-overhead" if device.type == "cuda" else None
    return Compiler(encode_batch_size, decode_batch_size, mode=mode)


class Compiled:
    """`stage` in buckets of batches.

    Until `freeze`, each new shape is compiled. After it, new shapes run without being compiled.
    """

    def __init__(self, stage: BatchedStage, compiler: Compiler, batch_size: int) -> None:
        self.sizes = bucket_sizes(batch_size)
        self._stage, self._compiler = stage, compiler
        self._bucketed = Bucketed(self._exact, self.sizes)
        self._by_shape: dict[tuple[torch.Size, ...], BatchedStage] = {}
        self._frozen = False

    def freeze(self) -> None:
        """Compile nothing from now on."""
        self._frozen = True

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """See `Bucketed`. The outputs are copies: the next call does not change them."""
        return self._bucketed(*inputs)

    def _exact(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        shapes = tuple(tensor.shape for tensor in inputs)
        run = self._by_shape.get(shapes)
        if run is None:
            if self._frozen:
                return self._stage(*inputs)
            run = self._by_shape[shapes] = self._compile()
        with torch.compiler.set_stance(SERVING if self._frozen else "default"):
            if inputs[0].is_cuda:
                torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            # Clones, because each replay of a captured graph writes to the same memory.
            return tuple(output.clone() for output in run(*inputs))

    def _compile(self) -> BatchedStage:
        how: dict[str, Any] = {
            "fullgraph": True,
            "dynamic": False,
            "isolate_recompiles": True,  # otherwise all shapes would share one list of guards
            "mode": self._compiler.mode,
            "backend": self._compiler.backend,
        }
        compiled: BatchedStage = torch.compile(self._stage, **how)
        return compiled
