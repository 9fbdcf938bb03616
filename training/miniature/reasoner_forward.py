"""The miniature reasoner's forward in training: several queries that share one image.

It computes the same as `Qwen2_5_VLForConditionalGeneration.forward`
(tests/process/reasoner/test_mini_reasoner.py compares the two), and also returns what training
needs: image tokens, hidden states and attention.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from miniature.reasoner_model import (
    CELLS,
    GRID,
    LOOK_HEADS,
    LOOK_LAYER,
    MERGE,
    PLACE_LAYER,
    PREFIX_LENGTH,
)


@dataclass
class Batch:
    """B images, Q turns about each. A turn is padded to T tokens and never sees another turn.

    patches: B x (GRID*GRID) x 588, float32, in the processor's order (2 x 2 patches side by side).
    prefix: PREFIX_LENGTH token ids, before every image. turns: B x Q x T token ids.
    """

    patches: Tensor
    prefix: Tensor
    turns: Tensor


@dataclass
class Activations:
    """hidden: B x Q x T x width, after the last norm. cells: B x 64 x width, the merged image
    tokens. placed: the same after text layer PLACE_LAYER. looks: B x Q x LOOK_HEADS x T x 64,
    the attention that LOOK_LAYER's first heads give to the image tokens."""

    hidden: Tensor
    cells: Tensor
    placed: Tensor
    looks: Tensor


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding, half-split convention."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-right, left), dim=-1) * sin


def vision_rotary(model: Any) -> tuple[Tensor, Tensor]:
    """cos, sin: (GRID*GRID) x head dimension, in the processor's patch order."""
    axis = torch.arange(GRID)
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    order = [
        grid.reshape(CELLS, MERGE, CELLS, MERGE).transpose(1, 2).flatten()
        for grid in (rows, columns)
    ]
    rotary = model.model.visual.rotary_pos_emb
    cos, sin = rotary(torch.zeros(1), torch.stack(order, dim=-1))
    return cos, sin


def encode_image(model: Any, patches: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """B x (GRID*GRID) x 588 -> B x 64 x width."""
    tower = model.model.visual
    weight = tower.patch_embed.proj.weight
    # Both frames of a still image are the same: their kernels add up.
    kernel = weight.sum(2).flatten(1)
    x = functional.linear(patches, kernel).float()  # the residual stream stays float32
    batch, length, width = x.shape
    for block in tower.blocks:
        heads = block.attn.num_heads
        qkv = block.attn.qkv(norm(block.norm1, x)).view(batch, length, 3, heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        cos, sin = (part.to(v.dtype) for part in rotary)
        seen, _ = attend(rotate(q, cos, sin), rotate(k, cos, sin), v)
        x = x + block.attn.proj(seen.transpose(1, 2).reshape(batch, length, width))
        x = x + block.mlp(norm(block.norm2, x))
    merged = norm(tower.merger.ln_q, x).reshape(batch, CELLS * CELLS, -1)
    out: Tensor = tower.merger.mlp(merged)
    return out


def norm(layer: Any, x: Tensor) -> Tensor:
    """Root mean square norm, as the layer's own."""
    weight: Tensor = layer.weight
    return functional.rms_norm(x, weight.shape, weight, float(layer.variance_epsilon))


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Plain attention (its backward on the CPU is faster than the fused one's) and its weights."""
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores + mask.to(scores.dtype)
    weights = scores.softmax(-1)
    return weights.to(v.dtype) @ v, weights


def text_positions(turn_length: int) -> tuple[Tensor, Tensor]:
    """Multimodal rotary positions (3 x 1 x length) of prefix and image, and of one turn."""
    cell = torch.arange(CELLS * CELLS)
    image = torch.stack((0 * cell, cell // CELLS, cell % CELLS)) + PREFIX_LENGTH
    shared = torch.cat((torch.arange(PREFIX_LENGTH).expand(3, -1), image), dim=1)
    turn = (PREFIX_LENGTH + CELLS + torch.arange(turn_length)).expand(3, -1)
    return shared[:, None], turn[:, None]


def causal_mask(rows: int, columns: int) -> Tensor:
    """Additive mask: row i sees all columns up to (columns - rows + i)."""
    hidden = torch.ones(rows, columns, dtype=torch.bool).triu(columns - rows + 1)
    return torch.zeros(rows, columns).masked_fill(hidden, -1e9)


def project(attention: Any, x: Tensor, rotary: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    """... x L x width -> rotated queries and keys, and values, each ... x H x L x head width."""
    q, k, v = (
        linear(x).unflatten(-1, (attention.num_heads, -1)).transpose(-2, -3)
        for linear in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    cos, sin = (part.to(v.dtype) for part in rotary)
    return rotate(q, cos, sin), rotate(k, cos, sin), v


def see(model: Any, batch: Batch, rotary: tuple[Tensor, Tensor]) -> Activations:
    """Run only the image, up to text layer PLACE_LAYER; `hidden` and `looks` are empty."""
    cells, shared, shared_at = shared_input(model, batch, rotary)
    mask = causal_mask(shared.shape[1], shared.shape[1])
    for layer in model.model.language_model.layers[: PLACE_LAYER + 1]:
        shared, _, _ = shared_layer(layer, shared, shared_at, mask)
    nothing = shared.new_zeros(0)
    return Activations(nothing, cells, shared[:, PREFIX_LENGTH:], nothing)


def shared_input(
    model: Any, batch: Batch, rotary: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Image tokens, the text model's input for prefix and image, and their rotary parts."""
    language = model.model.language_model
    cells = encode_image(model, batch.patches, rotary)
    prefix = language.embed_tokens(batch.prefix).expand(len(cells), -1, -1)
    shared = torch.cat((prefix, cells.float()), dim=1)
    cos, sin = language.rotary_emb(shared, text_positions(1)[0])
    return cells, shared, (cos[0], sin[0])


def shared_layer(
    layer: Any, shared: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One text layer over prefix and image: its output, and the keys and values turns attend to."""
    q, k, v = project(layer.self_attn, norm(layer.input_layernorm, shared), rotary)
    seen, _ = attend(q, k, v, mask)
    shared = shared + layer.self_attn.o_proj(seen.transpose(-2, -3).flatten(-2))
    return shared + layer.mlp(norm(layer.post_attention_layernorm, shared)), k, v


def forward(model: Any, batch: Batch, rotary: tuple[Tensor, Tensor]) -> Activations:
    """All hidden states of a batch. `model.lm_head` makes logits of them."""
    language = model.model.language_model
    cells, shared, shared_at = shared_input(model, batch, rotary)
    queries, length = batch.turns.shape[1:]
    turns: Tensor = language.embed_tokens(batch.turns)
    cos, sin = language.rotary_emb(turns, text_positions(length)[1])
    turn_at = (cos[0], sin[0])
    shared_mask = causal_mask(shared.shape[1], shared.shape[1])
    turn_mask = causal_mask(length, shared.shape[1] + length)
    placed = looks = shared
    for index, layer in enumerate(language.layers):
        shared, k, v = shared_layer(layer, shared, shared_at, shared_mask)
        q, own_k, own_v = project(layer.self_attn, norm(layer.input_layernorm, turns), turn_at)
        k, v = (part[:, None].expand(-1, queries, -1, -1, -1) for part in (k, v))
        seen, weights = attend(q, torch.cat((k, own_k), -2), torch.cat((v, own_v), -2), turn_mask)
        turns = turns + layer.self_attn.o_proj(seen.transpose(-2, -3).flatten(-2))
        turns = turns + layer.mlp(norm(layer.post_attention_layernorm, turns))
        if index == PLACE_LAYER:
            placed = shared[:, PREFIX_LENGTH:]
        if index == LOOK_LAYER:
            looks = weights[:, :, :LOOK_HEADS, :, PREFIX_LENGTH : PREFIX_LENGTH + CELLS * CELLS]
    return Activations(norm(language.norm, turns), cells, placed, looks)
