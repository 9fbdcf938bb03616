"""vLLM's C kernels in place of its layers' own arithmetic."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from vllm.config import CompilationConfig, VllmConfig, set_current_vllm_config
from vllm.model_executor.layers.layernorm import RMSNorm
from vllm.model_executor.layers.rotary_embedding.mrope import MRotaryEmbedding
from vllm.utils.import_utils import resolve_obj_by_qualname

from wise_serve.reasoner.inside_vllm import cpu_kernels
from wise_serve.reasoner.inside_vllm.front_end import engine_arguments
from wise_serve.settings import Settings

TOKENS, HEADS, HEAD_SIZE, HIDDEN = 37, 6, 32, 192
SECTIONS = [4, 6, 6]


@pytest.fixture(autouse=True)
def in_a_model() -> Iterator[None]:
    """As where vLLM makes the layers of a model that it does not compile."""
    eager = CompilationConfig(custom_ops=["all"])
    with set_current_vllm_config(VllmConfig(compilation_config=eager)):
        yield


def norm(dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    layer = RMSNorm(HIDDEN, dtype=dtype, **options)
    if layer.has_weight:
        torch.nn.init.normal_(layer.weight)
    return layer


def rotary(dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    chosen = {"is_neox_style": True, "mrope_section": SECTIONS, "dtype": dtype} | options
    return MRotaryEmbedding(HEAD_SIZE, HEAD_SIZE, 512, 20.0, **chosen)


def heads(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """Query and key, cut from one tensor as the model's attention does."""
    joined = torch.randn(TOKENS, 3 * HEADS * HEAD_SIZE).to(dtype)
    query, key, _ = joined.chunk(3, dim=-1)
    return query, key


def positions() -> torch.Tensor:
    return torch.randint(0, 500, (3, TOKENS))


def test_the_engine_gets_the_kernels_only_where_they_help() -> None:
    def told(**chosen: Any) -> Any:
        return engine_arguments(Settings(**chosen), "model", {}).worker_extension_cls

    assert resolve_obj_by_qualname(told(device="cpu")) is cpu_kernels.Layers
    assert not told(device="cpu", cpu_kernels=False)
    assert not told(device="cpu", engine_compile=True)
    assert not told(device="cuda")


def test_models_are_built_with_the_replaced_layers() -> None:
    assert type(norm()) is cpu_kernels.KernelRMSNorm
    assert type(rotary()) is cpu_kernels.KernelMRotaryEmbedding


@pytest.mark.parametrize("shape", [(1, HIDDEN), (TOKENS, HIDDEN), (3, 5, HIDDEN)])
def test_a_norm_equals_that_of_the_layer(shape: tuple[int, ...]) -> None:
    layer, x, residual = norm(), torch.randn(shape), torch.randn(shape)
    torch.testing.assert_close(layer(x), layer.forward_native(x))
    expected = layer.forward_native(x.clone(), residual.clone())
    normed, total = layer(x, residual)
    torch.testing.assert_close((normed, total), expected)


@pytest.mark.parametrize("flat", [True, False])
def test_a_rotation_equals_that_of_the_layer(flat: bool) -> None:
    layer, where = rotary(), positions()[0] if flat else positions()
    query, key = heads()
    expected = layer.forward_native(where, query.clone(), key.clone())
    torch.testing.assert_close(layer(where, query, key), expected)


def test_each_step_has_its_own_positions() -> None:
    """Other ones, and as many as no step had before, in the tensor that the last step's were in."""
    layer, where = rotary(), positions()
    for _ in range(3):
        query, key = heads()
        expected = layer.forward_native(where, query.clone(), key.clone())
        torch.testing.assert_close(layer(where, query, key), expected)
        where.copy_(positions())
    many = 3000  # more tokens than there are positions
    query, key = torch.randn(2, many, HEADS * HEAD_SIZE)
    where = torch.randint(0, 500, (3, many))
    expected = layer.forward_native(where, query.clone(), key.clone())
    torch.testing.assert_close(layer(where, query, key), expected)


def test_the_kernels_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a layer that always falls back would pass."""

    def fail(*_: Any) -> None:
        raise AssertionError("the layer's own arithmetic")

    monkeypatch.setattr(cpu_kernels.KernelRMSNorm, "forward_native", fail)
    monkeypatch.setattr(cpu_kernels.KernelMRotaryEmbedding, "forward_native", fail)
    x = torch.randn(TOKENS, HIDDEN)
    norm()(x, torch.randn(TOKENS, HIDDEN))
    rotary()(positions(), *heads())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_uses_the_layers_own_code(dtype: torch.dtype) -> None:
    layer, x = norm(dtype), torch.randn(TOKENS, HIDDEN).to(dtype)
    assert torch.equal(layer(x), layer.forward_native(x))
    turning, where, (query, key) = rotary(dtype), positions(), heads(dtype)
    got, expected = turning(where, query, key), turning.forward_native(where, query, key)
    assert torch.equal(got[0], expected[0])
    assert torch.equal(got[1], expected[1])


def test_unsupported_inputs_use_the_layers_own_code() -> None:
    apart = torch.randn(HIDDEN, TOKENS).t()  # rows that are not in one piece
    torch.testing.assert_close(norm_of(apart), norm_of(apart.contiguous()))
    part = norm(var_hidden_size=64)
    x = torch.randn(TOKENS, HIDDEN)
    assert torch.equal(part(x), part.forward_native(x))
    bare = norm(has_weight=False)
    assert torch.equal(bare(x), bare.forward_native(x))
    woven, where, (query, key) = rotary(mrope_interleaved=True), positions(), heads()
    expected = woven.forward_native(where, query, key)
    assert torch.equal(woven(where, query, key)[0], expected[0])


def norm_of(x: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(0)
    normed: torch.Tensor = norm()(x)
    return normed
