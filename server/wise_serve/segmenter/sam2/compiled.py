"""A stage of SAM 2 compiled for fixed shapes, all of them before the first request.

Each shape is compiled by itself and statically: a dynamic batch has given wrong encoder outputs.
See docs/decisions/0012-levers-of-the-segmenter.md for this and the other traps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from wise_serve.segmenter.sam2.buckets import BatchedStage, Bucketed, bucket_sizes

Stance = Literal["eager_on_recompile", "fail_on_recompile"]
# While serving. A guard that fails would otherwise hold the device for as long as a compile takes.
SERVING: Stance = "eager_on_recompile"


@dataclass(frozen=True, slots=True)
class Compiler:
    """How to compile, and for which batches: 1, 2, 4, ... up to each limit.

    points: how many points a prompt may have to be decoded by compiled code. mode: torch.compile's;
    "reduce-overhead" captures CUDA graphs. backend: torch.compile's, another one in tests.
    """

    encode_batch_size: int
    decode_batch_size: int
    points: tuple[int, ...] = (1, 2)
    mode: str | None = None
    backend: str | Callable[..., Any] = "inductor"


def compiler_for(device: torch.device, encode_batch_size: int, decode_batch_size: int) -> Compiler:
    """What suits a device: captured graphs on CUDA, plain compiled code on a CPU."""
    mode = "reduce-overhead" if device.type == "cuda" else None
    return Compiler(encode_batch_size, decode_batch_size, mode=mode)


class Compiled:
    """`stage` in buckets of batches. A shape that is new is compiled, until `freeze`; from then on
    it is run as it is, and no shape is compiled any more."""

    def __init__(self, stage: BatchedStage, compiler: Compiler, batch_size: int) -> None:
        self.sizes = bucket_sizes(batch_size)
        self._stage, self._compiler = stage, compiler
        self._bucketed = Bucketed(self._exact, self.sizes)
        self._by_shape: dict[tuple[torch.Size, ...], BatchedStage] = {}
        self._frozen = False

    def freeze(self) -> None:
        """Compile nothing from here on."""
        self._frozen = True

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """See `Bucketed`. The outputs are the caller's own, and survive the next call."""
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
            # A captured graph writes its outputs to the same memory at each replay: clones.
            return tuple(output.clone() for output in run(*inputs))

    def _compile(self) -> BatchedStage:
        how: dict[str, Any] = {
            "fullgraph": True,
            "dynamic": False,
            "isolate_recompiles": True,  # or shapes would share one list of guards, and its limit
            "mode": self._compiler.mode,
            "backend": self._compiler.backend,
        }
        compiled: BatchedStage = torch.compile(self._stage, **how)
        return compiled
