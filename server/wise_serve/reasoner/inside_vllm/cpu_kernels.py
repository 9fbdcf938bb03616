"""vLLM's C kernels for layers that leave them unused on a CPU (docs/decisions/0016).

vLLM's CPU build brings `rms_norm`, `fused_add_rms_norm` and `rotary_embedding`, but the layers of
its models compute the same from some ten operations of torch each. vLLM imports this module in the
worker, before the model is made, for the name of `Layers`; that registers the layers below, in
vLLM's own way, in place of those of the same name. In anything but float32 they stay vLLM's: there
the kernels round at other places.
"""

from typing import Any

import torch
from torch import Tensor
from vllm.model_executor.layers.layernorm import RMSNorm
from vllm.model_executor.layers.rotary_embedding.mrope import MRotaryEmbedding
from vllm.platforms import current_platform

current_platform.import_kernels()


class Layers:
    """What vLLM asks for by name (`worker_extension_cls`); it adds nothing to the worker."""


@RMSNorm.register_oot
class KernelRMSNorm(RMSNorm):  # type: ignore[misc]
    """`RMSNorm` in one call. `x`, `residual`: tokens x hidden size, any number of dimensions."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._plain = self.has_weight and self.variance_size_override is None

    def forward_cpu(self, x: Tensor, residual: Tensor | None = None) -> Any:
        """The normalized `x`; with a `residual` also their sum, both in the tensors given."""
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
    """`MRotaryEmbedding` in one call, on a table that holds each token's own cosines and sines."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._plain = bool(self.mrope_section) and self.is_neox_style and not self.mrope_interleaved
        if self._plain:
            sections = torch.tensor(self.mrope_section)  # columns that follow time, height, width
            self._axis = torch.arange(3).repeat_interleave(sections).repeat(2)
            self._column = torch.arange(self.rotary_dim)
            self._seen = self._row = torch.empty(0, dtype=torch.long)
            self._table = self.cos_sin_cache[:0]  # of the positions in `_seen`

    def forward_cpu(
        self,
        positions: Tensor,
        query: Tensor,
        key: Tensor | None = None,
        offsets: Tensor | None = None,
    ) -> Any:
        """`positions`: 3 x tokens (time, height, width), or tokens alone; `query` and `key`, tokens
        x (heads x head size), are turned where they are."""
        cache = self.cos_sin_cache
        rows = query.ndim == 2 and query.dtype == cache.dtype == torch.float32
        if not (self._plain and rows and offsets is None):
            return self.forward_native(positions, query, key, offsets)
        if positions.ndim == 2:
            if not torch.equal(positions, self._seen):  # once a step, not once a layer
                self._seen, own = positions.clone(), positions[self._axis].t()
                self._table = cache[own, self._column].contiguous()  # as the kernel takes it
                self._row = torch.arange(len(self._table))
            cache, positions = self._table, self._row
        torch.ops._C.rotary_embedding(positions, query, key, self.head_size, cache, True)
        return query, key


def _taken(*tensors: Tensor) -> bool:
    """Whether the kernels compute these as the layers do."""
    return all(one.dtype == torch.float32 and one.is_contiguous() for one in tensors)
