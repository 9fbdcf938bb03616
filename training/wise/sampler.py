"""Samples from the model that is being trained: many turns about each image, side by side.

The prompt's tokens are fed one by one like the sampled ones, so that rows of different prompts need
no padding between prompt and response. Keys and values of prefix and image are computed once an
image. tests/process/reasoner/test_wise_sampler.py holds it to what vLLM writes of the same weights.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from miniature.reasoner_forward import (
    Batch,
    causal_mask,
    norm,
    project,
    shared_input,
    shared_layer,
    text_positions,
)


@dataclass
class Samples:
    """tokens: B x R x T, each row its prompt and then its response, padded with the end token.
    sampled: B x R x T, whether a token was sampled (the end token counts). complete: B x R, whether
    the response ended before the length did."""

    tokens: Tensor
    sampled: Tensor
    complete: Tensor


class Cache:
    """Keys and values of one text layer. shared: B x H x S x D. own: B x R x H x T x D."""

    def __init__(self, keys: Tensor, values: Tensor, rows: int, length: int) -> None:
        batch, heads, _, width = keys.shape
        self.keys, self.values = keys, values
        self.own_keys = keys.new_zeros(batch, rows, heads, length, width)
        self.own_values = torch.zeros_like(self.own_keys)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, at: int) -> Tensor:
        """One new token a row, B x R x H x 1 x D, at position `at` of its turn; returns the same
        shape."""
        self.own_keys[..., at : at + 1, :], self.own_values[..., at : at + 1, :] = k, v
        keys, values = self.own_keys[..., : at + 1, :], self.own_values[..., : at + 1, :]
        by_head = q[..., 0, :].transpose(1, 2)  # all rows of an image look at it together
        image = (by_head @ self.keys.transpose(-1, -2)).transpose(1, 2)
        own = (q @ keys.transpose(-1, -2))[..., 0, :]
        weights = (torch.cat((image, own), -1) * q.shape[-1] ** -0.5).softmax(-1)
        seen = self.keys.shape[-2]
        from_image = (weights[..., :seen].transpose(1, 2) @ self.values).transpose(1, 2)
        both: Tensor = from_image[..., None, :] + weights[..., None, seen:] @ values
        return both


def _read_image(model: Any, batch: Batch, rotary: tuple[Tensor, Tensor]) -> list[Cache]:
    rows, length = batch.turns.shape[1:]
    _, shared, shared_at = shared_input(model, batch, rotary)
    mask = causal_mask(shared.shape[1], shared.shape[1])
    caches = []
    for layer in model.model.language_model.layers:
        shared, keys, values = shared_layer(layer, shared, shared_at, mask)
        caches.append(Cache(keys, values, rows, length))
    return caches


def _step(
    model: Any, caches: list[Cache], tokens: Tensor, rotary: tuple[Tensor, ...], at: int
) -> Tensor:
    """Logits (B x R x vocabulary) after one more token (B x R) of every row."""
    language = model.model.language_model
    x: Tensor = language.embed_tokens(tokens)[:, :, None]
    here = (rotary[0][at : at + 1], rotary[1][at : at + 1])
    for layer, cache in zip(language.layers, caches, strict=True):
        q, k, v = project(layer.self_attn, norm(layer.input_layernorm, x), here)
        seen = cache.attend(q, k, v, at)
        x = x + layer.self_attn.o_proj(seen.transpose(-2, -3).flatten(-2))
        x = x + layer.mlp(norm(layer.post_attention_layernorm, x))
    logits: Tensor = model.lm_head(norm(language.norm, x[:, :, 0]))
    return logits


@torch.no_grad()
def sample(
    model: Any,
    batch: Batch,
    lengths: Tensor,
    rotary: tuple[Tensor, Tensor],
    end_id: int,
    temperature: float,
    generator: torch.Generator,
) -> Samples:
    """batch.turns: B x R x T, each row's prompt, room for its response after it. lengths: B x R, of
    the prompts, tokens. temperature 0 is greedy."""
    tokens = batch.turns.clone()
    sampled = torch.zeros_like(tokens, dtype=torch.bool)
    complete = torch.zeros(tokens.shape[:2], dtype=torch.bool)
    caches = _read_image(model, batch, rotary)
    cos, sin = model.model.language_model.rotary_emb(
        caches[0].keys, text_positions(tokens.shape[-1])[1]
    )
    for at in range(tokens.shape[-1] - 1):
        logits = _step(model, caches, tokens[..., at], (cos[0], sin[0]), at)
        speaks = lengths <= at + 1
        if not speaks.any():
            continue
        if temperature == 0:
            drawn = logits.argmax(-1)
        else:
            shares = (logits.float() / temperature).softmax(-1).flatten(0, 1)
            drawn = torch.multinomial(shares, 1, generator=generator).view_as(speaks)
        drawn = torch.where(complete, end_id, drawn)
        tokens[..., at + 1] = torch.where(speaks, drawn, tokens[..., at + 1])
        sampled[..., at + 1] = speaks & ~complete
        complete |= speaks & (drawn == end_id)
        if complete.all():
            tokens[..., at + 2 :] = end_id
            break
    return Samples(tokens, sampled, complete)
