"""What vLLM samples, against the training's own forward."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from miniature.reasoner_forward import forward, vision_rotary
from miniature.tokenizer import build_tokenizer
from wise.episodes import Prompter, Prompts
from wise.sampler import Sampler, Samples
from wise_serve.miniature import REASONER_FOLDER

SEEDS = (1, 2)


@pytest.fixture(scope="module")
def prompter() -> Prompter:
    return Prompter(build_tokenizer())


@pytest.fixture(scope="module")
def model() -> Qwen2_5_VLForConditionalGeneration:
    return Qwen2_5_VLForConditionalGeneration.from_pretrained(REASONER_FOLDER, dtype=torch.float32)


@pytest.fixture(scope="module")
def other(model: Qwen2_5_VLForConditionalGeneration) -> Qwen2_5_VLForConditionalGeneration:
    """Another model: the text's and the eyes' weights are moved, so that all of it must arrive."""
    moved, noise = copy.deepcopy(model), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in moved.parameters():
            weight += 0.1 * weight.std(correction=0) * torch.randn(weight.shape, generator=noise)
    return moved


@pytest.fixture(scope="module")
def unsure(model: Qwen2_5_VLForConditionalGeneration) -> Qwen2_5_VLForConditionalGeneration:
    """The same model with flatter logits, so that at temperature 1 several tokens are likely."""
    flat = copy.deepcopy(model)
    with torch.no_grad():
        flat.lm_head.weight /= 4
    return flat


def short(prompts: Prompts, length: int) -> Prompts:
    return replace(prompts, batch=replace(prompts.batch, turns=prompts.batch.turns[..., :length]))


def drawn(prompter: Prompter, seed: int, prompts: int, samples: int, length: int) -> Prompts:
    return short(prompter.draw(np.random.default_rng(seed), prompts, samples), length)


def wants(model: Qwen2_5_VLForConditionalGeneration, prompts: Prompts, found: Samples) -> bool:
    """Whether each sampled token is the one that the whole forward finds likeliest there."""
    with torch.no_grad():
        batch = replace(prompts.batch, turns=found.tokens)
        logits = model.lm_head(forward(model, batch, vision_rotary(model)).hidden)
    agree = logits[..., :-1, :].argmax(-1) == found.tokens[..., 1:]
    return bool(agree[found.sampled[..., 1:]].all())


def test_greedy_text_follows_the_weights_of_the_last_update(
    model: Qwen2_5_VLForConditionalGeneration,
    other: Qwen2_5_VLForConditionalGeneration,
    prompter: Prompter,
    sampler: Sampler,
) -> None:
    prompts = drawn(prompter, 3, prompts=4, samples=2, length=100)
    assert len(set(prompts.lengths[:, 0].tolist())) > 1  # rows of different prompts
    texts = []
    for current in (model, other, model):  # the same images and prompts: nothing old is reused
        sampler.update(current.state_dict())
        found = sampler.sample(prompts, 0.0, SEEDS)
        assert wants(current, prompts, found)
        texts.append(found.tokens)
        assert (found.tokens[:, 0] == found.tokens[:, 1]).all()
    assert torch.equal(texts[0], texts[2])
    assert not torch.equal(texts[0], texts[1])
    assert not wants(other, prompts, found)
    text = prompter.text(found.tokens[0, 0][found.sampled[0, 0]].tolist())
    assert text.startswith("<think>")
    assert "</answer>" in text


def test_weights_that_change_in_training_are_not_seen_before_an_update(
    model: Qwen2_5_VLForConditionalGeneration, prompter: Prompter, sampler: Sampler
) -> None:
    prompts, trained = drawn(prompter, 6, prompts=1, samples=1, length=100), copy.deepcopy(model)
    sampler.update(trained.state_dict())
    before = sampler.sample(prompts, 0.0, SEEDS)
    with torch.no_grad():
        for weight in trained.parameters():
            weight.zero_()
    assert torch.equal(sampler.sample(prompts, 0.0, SEEDS).tokens, before.tokens)


def test_sampling_repeats_from_its_seeds_and_varies_within_a_prompt(
    unsure: Qwen2_5_VLForConditionalGeneration, prompter: Prompter, sampler: Sampler
) -> None:
    sampler.update(unsure.state_dict())
    prompts = drawn(prompter, 4, prompts=2, samples=8, length=90)
    one, two, three = (sampler.sample(prompts, 1.0, (1, step)) for step in (0, 0, 1))
    assert torch.equal(one.tokens, two.tokens)
    assert not torch.equal(one.tokens, three.tokens)
    assert len({tuple(row.tolist()) for row in one.tokens[0]}) == 8


def test_samples_are_as_frequent_as_they_are_likely(
    unsure: Qwen2_5_VLForConditionalGeneration, prompter: Prompter, sampler: Sampler
) -> None:
    """The first token of a response."""
    sampler.update(unsure.state_dict())
    samples = 400
    prompts = drawn(prompter, 7, prompts=1, samples=samples, length=90)
    start = int(prompts.lengths[0, 0])
    found = sampler.sample(short(prompts, start + 1), 1.0, SEEDS)
    with torch.no_grad():
        batch = replace(prompts.batch, turns=prompts.batch.turns[:, :1, :start])
        hidden = forward(unsure, batch, vision_rotary(unsure)).hidden[0, 0, -1]
        expected, likeliest = unsure.lm_head(hidden).softmax(-1).max(-1)
    seen = float((found.tokens[0, :, start] == likeliest).float().mean())
    assert 0.1 < expected < 0.9
    assert seen == pytest.approx(
        float(expected), abs=4 * float(expected * (1 - expected) / samples) ** 0.5
    )


def test_rows_hold_the_prompt_the_response_and_padding(
    model: Qwen2_5_VLForConditionalGeneration, prompter: Prompter, sampler: Sampler
) -> None:
    sampler.update(model.state_dict())
    prompts = drawn(prompter, 5, prompts=2, samples=2, length=110)
    found = sampler.sample(prompts, 0.0, SEEDS)
    assert found.complete.any()
    for b, r in np.ndindex(2, 2):
        length = int(prompts.lengths[b, r])
        assert not found.sampled[b, r, :length].any()
        assert torch.equal(found.tokens[b, r, :length], prompts.batch.turns[b, r, :length])
        ends = (found.tokens[b, r] == prompter.end_id) & found.sampled[b, r]
        assert int(ends.sum()) == int(found.complete[b, r])
        if found.complete[b, r]:
            at = int(ends.nonzero()[0])
            assert (found.tokens[b, r, at:] == prompter.end_id).all()
            assert not found.sampled[b, r, at + 1 :].any()
