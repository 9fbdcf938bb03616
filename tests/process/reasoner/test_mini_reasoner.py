"""What is trained is what is served: the training's forward, its patches and its tokenizer."""

import json

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

from miniature.reasoner_data import Examples
from miniature.reasoner_forward import forward, vision_rotary
from miniature.reasoner_images import patches_of
from miniature.scenes import draw_scene
from miniature.tokenizer import CHAT_TEMPLATE, build_tokenizer, load_strategies
from wise_serve.miniature import REASONER_FOLDER
from wise_serve.miniature import REASONER_IMAGE_SIZE as IMAGE_SIZE


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return build_tokenizer()


def test_the_shipped_tokenizer_is_what_the_sources_make(tokenizer: Tokenizer) -> None:
    shipped = Tokenizer.from_file(str(REASONER_FOLDER / "tokenizer.json"))
    assert tokenizer.get_vocab() == shipped.get_vocab()
    assert (REASONER_FOLDER / "chat_template.jinja").read_text() == CHAT_TEMPLATE
    for entry in load_strategies().values():
        text = entry["template"].replace("{answer}", entry["answer"])
        assert tokenizer.encode(text).ids == shipped.encode(text).ids
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_any_text_can_be_encoded(tokenizer: Tokenizer) -> None:
    for text in ("Zürich 日本 🙂", "a\tb\n c", "x" * 300, "786, 225", "</answer> <think>"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_patches_are_the_processors() -> None:
    scene = draw_scene(np.random.default_rng(1), max_side=300)
    processor = AutoProcessor.from_pretrained(REASONER_FOLDER).image_processor
    square = scene.image.resize((IMAGE_SIZE, IMAGE_SIZE), 2)
    # The processor repeats a still image for both frames of a patch: channel, frame, row, column.
    theirs = np.asarray(processor(images=[square], return_tensors="np")["pixel_values"])
    frames = theirs.reshape(-1, 3, 2, 14 * 14)
    assert np.abs(frames[:, :, 0].reshape(len(theirs), -1) - patches_of(scene.image)).max() < 1e-4


@torch.inference_mode()
def test_the_trainings_forward_is_transformers(tokenizer: Tokenizer) -> None:
    """Two turns about one image, packed, against each turn alone in the class itself."""
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        REASONER_FOLDER, dtype=torch.float32
    ).eval()
    examples = Examples(tokenizer, seed=1, images=1)
    rng = np.random.default_rng(2)
    data = examples.collate([examples.example(rng, True)])
    out = forward(model, data.batch, vision_rotary(model))
    frames = data.batch.patches[0].reshape(-1, 3, 1, 196).expand(-1, -1, 2, -1).reshape(256, -1)
    image = json.loads((REASONER_FOLDER / "config.json").read_text())["image_token_id"]
    for number in range(2):
        tokens = data.turns[0][number].tokens
        ids = torch.tensor([[*examples.prefix, *[image] * 64, *tokens]])
        logits = model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=(ids == image).int(),
            pixel_values=frames,
            image_grid_thw=torch.tensor([[1, 16, 16]]),
        ).logits[0, -len(tokens) :]
        ours = model.lm_head(out.hidden[0, number, : len(tokens)])
        assert (logits - ours).abs().max() < 2e-3
