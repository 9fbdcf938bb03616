"""The miniature reasoner: a Qwen2.5-VL of a few million parameters, and its forward in training.

The class, its processor and its files are transformers' own, so vLLM reads it as it reads the
public checkpoints. `forward` computes what `Qwen2_5_VLForConditionalGeneration.forward` does
(tests/process/reasoner/test_mini_reasoner.py holds the two together), over several queries that
share one image, and gives out what training looks at besides: image tokens, hidden states and
attention.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from wise_serve.miniature import REASONER_IMAGE_SIZE as IMAGE_SIZE

PATCH, MERGE = 14, 2
GRID = IMAGE_SIZE // PATCH  # patches a side
CELLS = GRID // MERGE  # merged tokens a side
PREFIX_LENGTH = 7  # tokens before the image in the chat template
TEXT_WIDTH = 192
# The multimodal rotary's slowest frequencies carry the column. At the usual 1e4 they turn by 0.03
# radians over eight columns, which a model this small does not learn to read; at 20, by 1.2.
ROPE_THETA = 20.0
LOOK_LAYER, LOOK_HEADS = 3, 2  # the text layer and its first heads that learn to look at the target
PLACE_LAYER = 1  # after this text layer, image tokens know where they are


def make_config(token_ids: dict[str, int], vocabulary: int) -> Qwen2_5_VLConfig:
    """The miniature's configuration. `token_ids` maps the special tokens' text to their ids."""
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": vocabulary,
            "hidden_size": TEXT_WIDTH,
            "intermediate_size": 512,
            "num_hidden_layers": 6,
            "num_attention_heads": 6,
            "num_key_value_heads": 6,
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": ROPE_THETA, "mrope_section": [4, 6, 6],
            },
            "bos_token_id": token_ids["<|endoftext|>"],
            "eos_token_id": token_ids["<|im_end|>"],
            "pad_token_id": token_ids["<|endoftext|>"],
        },
        vision_config={
            "depth": 4,
            "hidden_size": 128,
            "intermediate_size": 352,
            "num_heads": 4,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "window_size": IMAGE_SIZE,
            "fullatt_block_indexes": [0, 1, 2, 3],
            "out_hidden_size": TEXT_WIDTH,
        },
        image_token_id=token_ids["<|image_pad|>"],
        video_token_id=token_ids["<|video_pad|>"],
        vision_start_token_id=token_ids["<|vision_start|>"],
        vision_end_token_id=token_ids["<|vision_end|>"],
        tie_word_embeddings=False,
        dtype="float32",
    )  # fmt: skip


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
    """Only the image, and only as far as text layer PLACE_LAYER; `hidden` and `looks` are empty."""
    cells, shared, shared_at = shared_input(model, batch, rotary)
    mask = causal_mask(shared.shape[1], shared.shape[1])
    for layer in model.model.language_model.layers[: PLACE_LAYER + 1]:
        shared, _, _ = shared_layer(layer, shared, shared_at, mask)
    nothing = shared.new_zeros(0)
    return Activations(nothing, cells, shared[:, PREFIX_LENGTH:], nothing)


def shared_input(
    model: Any, batch: Batch, rotary: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Image tokens, prefix and image as the text model takes them in, and their rotary parts."""
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
    """All hidden states of a batch; apply `model.lm_head` where logits are wanted."""
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


class TrainingAids(nn.Module):
    """Heads that exist only in training: what a cell shows, where it is, and how it ranks.

    seen: per merged token, colour (8 and none), kind (4 and none), the box of the shape there
    relative to the cell, six flags (largest, smallest, leftmost, rightmost, topmost, lowest).
    placed: per image token in the text model, its row and column, the shape's box in the image.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Linear(TEXT_WIDTH, 9 + 5 + 4 + 6)
        self.placed = nn.Linear(TEXT_WIDTH, CELLS * 2 + 4)


def make_model(config: Qwen2_5_VLConfig, number_ids: Tensor) -> Qwen2_5_VLForConditionalGeneration:
    """Random weights, scaled to this narrow a model (the class's own 0.02 is meant for thousands of
    channels, and leaves the layers of this one mute for long); near numbers start near each other.
    """
    model = Qwen2_5_VLForConditionalGeneration(config)
    depth = config.text_config.num_hidden_layers
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim < 2:
                continue
            scale = 0.7 / weight[0].numel() ** 0.5
            if name.endswith(("attn.proj.weight", "o_proj.weight", "down_proj.weight")):
                scale /= (2 * depth) ** 0.5
            weight.normal_(0, scale)
        numbers = torch.arange(len(number_ids), dtype=torch.float32)
        embedding, head = model.model.language_model.embed_tokens.weight, model.lm_head.weight
        embedding.normal_(0, 0.5)
        for table, scale in ((embedding, 0.7), (head, 0.07)):
            half = table.shape[1] // 2
            pace = torch.exp(torch.rand(half) * 5.0 - 4.5)
            angle = numbers[:, None] * pace + torch.rand(half) * 2 * torch.pi
            table[number_ids] = scale * torch.cat((angle.sin(), angle.cos()), dim=1)
    return model
