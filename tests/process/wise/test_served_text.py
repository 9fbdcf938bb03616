"""The sampler in training and the server write the same greedy text of the same weights."""

from dataclasses import replace

import numpy as np
import pytest
from transformers import Qwen2_5_VLForConditionalGeneration

from miniature.tokenizer import build_tokenizer
from wise.episodes import Prompter
from wise.rewards import ANSWER, read_answer
from wise.sampler import Sampler
from wise_client import Client
from wise_serve.miniature import REASONER_FOLDER, REASONER_IMAGE_SIZE

TURN_TOKENS = 110


def test_greedy_text_is_what_the_server_answers(client: Client, sampler: Sampler) -> None:
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(REASONER_FOLDER)
    sampler.update(model.float().state_dict())
    prompter = Prompter(build_tokenizer())
    prompts = prompter.draw(np.random.default_rng(8_100_000), prompts=6, samples=1)
    turns = prompts.batch.turns[..., :TURN_TOKENS]
    found = sampler.sample(replace(prompts, batch=replace(prompts.batch, turns=turns)), 0.0, (1,))
    for b, image in enumerate(prompts.images):
        text = prompter.text(found.tokens[b, 0][found.sampled[b, 0]].tolist())
        served = client.segment(image, prompts.queries[b], strategy="wise")
        assert served.reasoning == text.partition("<think>")[2].partition("</think>")[0]
        answer = read_answer(text)
        assert answer is not None, ANSWER.findall(text)
        scale = np.array(image.size * 2) / REASONER_IMAGE_SIZE
        assert served.instances[0].box == pytest.approx(answer.box * scale, abs=1.0)
