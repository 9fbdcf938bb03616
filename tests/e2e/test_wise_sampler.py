"""WISE's sampler and the server write the same greedy text of the same weights."""

import numpy as np
import pytest
import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from miniature.queries import make_query
from miniature.reasoner_forward import Batch, vision_rotary
from miniature.reasoner_images import patches_of
from miniature.scenes import draw_scene
from miniature.tokenizer import build_tokenizer
from wise.episodes import Prompter
from wise.rewards import ANSWER, read_answer
from wise.sampler import sample
from wise_client import Client
from wise_serve.miniature import REASONER_FOLDER, REASONER_IMAGE_SIZE

TURN_TOKENS = 110


def test_greedy_text_is_what_vllm_writes(client: Client) -> None:
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(REASONER_FOLDER, dtype=torch.float32)
    prompter = Prompter(build_tokenizer())
    rng, compared = np.random.default_rng(8_100_000), 0
    while compared < 6:
        scene = draw_scene(rng, max_side=384)
        query = make_query(scene, rng, ("attribute", "relation")[compared % 2])
        if query is None:
            continue
        ids = prompter.turn(query.text)
        turns = torch.full((1, 1, TURN_TOKENS), prompter.end_id)
        turns[0, 0, : len(ids)] = torch.tensor(ids)
        patches = torch.from_numpy(patches_of(scene.image))[None]
        found = sample(
            model, Batch(patches, prompter.prefix, turns), torch.tensor([[len(ids)]]),
            vision_rotary(model), prompter.end_id, 0.0, torch.Generator(),
        )  # fmt: skip
        text = prompter.text(found.tokens[0, 0][found.sampled[0, 0]].tolist())
        served = client.segment(scene.image, query.text, strategy="wise")
        rationale = text.partition("<think>")[2].partition("</think>")[0]
        assert served.reasoning == rationale
        answer = read_answer(text)
        assert answer is not None, ANSWER.findall(text)
        scale = np.array(scene.image.size * 2) / REASONER_IMAGE_SIZE
        assert served.instances[0].box == pytest.approx(answer.box * scale, abs=1.0)
        compared += 1
