"""The sampler against the training's own forward, on the packaged weights."""

import numpy as np
import pytest
import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from miniature.reasoner_forward import Batch, forward, vision_rotary
from miniature.tokenizer import build_tokenizer
from wise.episodes import Prompter, Prompts
from wise.sampler import Samples, sample
from wise_serve.miniature import REASONER_FOLDER


@pytest.fixture(scope="module")
def prompter() -> Prompter:
    return Prompter(build_tokenizer())


@pytest.fixture(scope="module")
def model() -> Qwen2_5_VLForConditionalGeneration:
    return Qwen2_5_VLForConditionalGeneration.from_pretrained(REASONER_FOLDER, dtype=torch.float32)


def sampled(
    model: Qwen2_5_VLForConditionalGeneration, prompter: Prompter, prompts: Prompts, heat: float
) -> Samples:
    return sample(
        model, prompts.batch, prompts.lengths, vision_rotary(model), prompter.end_id, heat,
        torch.Generator().manual_seed(5),
    )  # fmt: skip


def short(prompts: Prompts, length: int) -> Prompts:
    batch = Batch(prompts.batch.patches, prompts.batch.prefix, prompts.batch.turns[..., :length])
    return Prompts(batch, prompts.lengths, prompts.truths)


def test_greedy_text_is_what_the_whole_forward_finds_likeliest(
    model: Qwen2_5_VLForConditionalGeneration, prompter: Prompter
) -> None:
    prompts = short(prompter.draw(np.random.default_rng(3), prompts=4, samples=2), 100)
    found = sampled(model, prompter, prompts, 0.0)
    assert len(set(prompts.lengths[:, 0].tolist())) > 1  # rows of different prompts
    assert (found.tokens[:, 0] == found.tokens[:, 1]).all()
    for row, length in enumerate(prompts.lengths[:, 0].tolist()):
        assert not found.sampled[row, 0, :length].any()
        assert (found.tokens[row, 0, :length] == prompts.batch.turns[row, 0, :length]).all()
    with torch.no_grad():
        batch = Batch(prompts.batch.patches, prompts.batch.prefix, found.tokens)
        logits = model.lm_head(forward(model, batch, vision_rotary(model)).hidden)
    assert (logits[..., :-1, :].argmax(-1) == found.tokens[..., 1:])[found.sampled[..., 1:]].all()
    text = prompter.text(found.tokens[0, 0][found.sampled[0, 0]].tolist())
    assert text.startswith("<think>")
    assert "</answer>" in text


def test_sampling_repeats_from_its_seed_and_varies_within_a_prompt(
    model: Qwen2_5_VLForConditionalGeneration, prompter: Prompter
) -> None:
    prompts = short(prompter.draw(np.random.default_rng(4), prompts=1, samples=16), 90)
    one, two = (sampled(model, prompter, prompts, 3.0) for _ in range(2))
    assert torch.equal(one.tokens, two.tokens)
    assert len({tuple(row.tolist()) for row in one.tokens[0]}) > 1


def test_a_row_that_ended_is_padded_and_counts_its_end_once(
    model: Qwen2_5_VLForConditionalGeneration, prompter: Prompter
) -> None:
    prompts = short(prompter.draw(np.random.default_rng(5), prompts=2, samples=2), 110)
    prompter_end = prompter.end_id
    found = sampled(model, prompter, prompts, 0.0)
    for b, r in np.ndindex(2, 2):
        ends = (found.tokens[b, r] == prompter_end) & found.sampled[b, r]
        assert int(ends.sum()) == int(found.complete[b, r])
        if found.complete[b, r]:
            at = int(ends.nonzero()[0])
            assert (found.tokens[b, r, at:] == prompter_end).all()
