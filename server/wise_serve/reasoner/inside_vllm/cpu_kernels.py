"""vLLM's C kernels for layers that leave them unused on a CPU (docs/decisions/0016).

vLLM's CPU build contains the kernels `rms_norm`, `fused_add_rms_norm` and `rotary_embedding`, but
its layers compute the same with about ten operations of torch each. vLLM imports this module in the
worker before it builds the model, because `Layers` is named as its worker extension. The import
registers the layers below, in vLLM's own way, in place of vLLM's layers of the same name. Types
other than float32 use vLLM's code, because there the kernels round at different places.
"""

from typing import Any

import torch
from torch import Tensor
from vllm.model_executor.layers.layernorm import RMSNorm
from vllm.model_executor.layers.rotary_embedding.mrope import MRotaryEmbedding
from vllm.platforms import current_platform

current_platform.import_kernels()


class Layers:
    """The worker extension that vLLM imports by name (`worker_extension_cls`). It is empty."""


@RMSNorm.register_oot
class KernelRMSNorm(RMSNorm):  # type: ignore[misc]
    """`RMSNorm` in one call. `x`, `residual`: tokens x hidden size, any number of dimensions."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._plain = self.has_weight and self.variance_size_override is None

    def forward_cpu(self, x: Tensor, residual: Tensor | None = None) -> Any:
        """Normalize `x`. With a `residual`, normalize their sum and return both, in place."""
        if not (self._plain and _taken(x, self.weight) and (residual is None or _taken(residual))):
            return self.forward_native(x, residual)
        if residual is None:
            normed = torch.empty_like(x)
            torch.ops._C.rms_norm(normed, x, self.weight, self.variance_epsilon)
            return normed
        torch.ops._C.fused_add_rms_norm(x, residual, self.weight, self.variance_epsilon)
        return x, residual


@MRotaryEmbedding.register_oot
class KernelMRotaryEmbedding(MRotaryEmbedding):  # type: ignore[misc]
    """`MRotaryEmbedding` in one call, with a table of the cosines and sines of each token."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._plain = bool(self.mrope_section) and self.is_neox_style and not self.mrope_interleaved
        if self._plain:
            sections = torch.tensor(self.mrope_section)  # columns that follow time, height, width
            self._axis = torch.arange(3).repeat_interleave(sections).repeat(2)
            self._column = torch.arange(self.rotary_dim)
            self._seen = self._row = torch.empty(0, dtype=torch.long)
            self._table = self.cos_sin_cache[:0]  # for the positions in `_seen`

    def forward_cpu(
        self,
        positions: Tensor,
        query: Tensor,
        key: Tensor | None = None,
        offsets: Tensor | None = None,
    ) -> Any:
        """Rotate `query` and `key` (tokens x (heads x head size)) in place and return them.

        `positions`: 3 x tokens (time, height, width), or just tokens.
        """
        cache = self.cos_sin_cache
        rows = query.ndim == 2 and query.dtype == cache.dtype == torch.float32
        if not (self._plain and rows and offsets is None):
            return self.forward_native(positions, query, key, offsets)
        if positions.ndim == 2:
            if not torch.equal(positions, self._seen):  # new only once per step, not per layer
                self._seen, own = positions.clone(), positions[self._axis].t()
                self._table = cache[
                    own, self._column
                ].contiguous()  # the kernel needs it contiguous
                self._row = torch.arange(len(self._table))
            cache, positions = self._table, self._row
        torch.ops._C.rotary_embedding(positions, query, key, self.head_size, cache, True)
        return query, key


def _taken(*tensors: Tensor) -> bool:
    """Whether the kernels give the same results for these tensors as the layers."""
    return all(one.dtype == torch.float32 and one.is_contiguous() for one in tensors)
