"""Qwen3-VL's class through the same engine: a tiny checkpoint of it, with random weights.

Nothing of its answers can be right, but what reaches the model can: the same prompt, image tokens
and greedy text as transformers' own class makes of them. A text that the server is made to write
shows how the strategy's coordinates are read.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, Qwen3VLForConditionalGeneration

from qwen3_vl_checkpoint import IMAGE_TOKEN_PIXELS, write_qwen3_vl
from rehearsal_texts import grammar
from running import running_server
from wise_client import Client
from wise_serve.reasoner.strategies.files import read_shipped, shipped_file
from wise_serve.reasoner.strategies.images import view_of

SCRIPTED_SERVER = Path(__file__).parents[3] / "benchmarks" / "rehearsal_server.py"
STRATEGY = read_shipped("qwen3-vl")
SHORT = "qwen3-vl-short"
TOKENS = 16
QUERY, SCRIPTED = "the red cup", "the box as written"
BOX, BOX_IN_IMAGE = (100, 200, 500, 800), (50, 60, 250, 240)  # of 0 to 1000; of 500 x 300
FLAGS = (
    *("--device", "cpu", "--structured-answers", "--strategy", "qwen3-vl"),
    *("--engine-args", '{"dtype": "float32"}', "--kv-cache-bytes", str(64 * 2**20)),
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen3-vl")
    write_qwen3_vl(folder)
    return folder


@pytest.fixture(scope="module")
def processor(checkpoint: Path) -> Any:
    return AutoProcessor.from_pretrained(checkpoint)


@pytest.fixture(scope="module")
def client(checkpoint: Path, processor: Any) -> Iterator[Client]:
    """A server that writes a box for one query, and what the model writes for every other."""
    short = json.loads(shipped_file("qwen3-vl")) | {"name": SHORT, "max_tokens": TOKENS}
    (checkpoint / "short.json").write_text(json.dumps(short))
    text = json.dumps([{"bbox_2d": BOX, "label": "cup"}])
    script = {SCRIPTED: grammar(processor.tokenizer.encode(text))}
    (checkpoint / "script.json").write_text(json.dumps(script))
    files = (str(checkpoint / "script.json"), "--strategy-file", str(checkpoint / "short.json"))
    flags = (*files, "--port", "0", "--reasoner", str(checkpoint), *FLAGS)
    with running_server(*flags, script=SCRIPTED_SERVER) as running, Client(running.url) as made:
        yield made


def picture(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def of_transformers(checkpoint: Path, processor: Any, image: Image.Image) -> tuple[int, str]:
    """Tokens of the prompt, and the greedy text, of `image` as the strategy shows it."""
    shown = image.resize(view_of(STRATEGY, image.size).size, Image.Resampling.BICUBIC)
    turn = [{"type": "image"}, {"type": "text", "text": STRATEGY.prompt(QUERY)}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": turn}], tokenize=False, add_generation_prompt=True
    )
    inputs = processor(text=[text], images=[shown], return_tensors="pt")
    model = Qwen3VLForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32)
    written = model.eval().generate(**inputs, do_sample=False, max_new_tokens=TOKENS)
    prompt_tokens = inputs["input_ids"].shape[1]
    return prompt_tokens, processor.tokenizer.decode(written[0, prompt_tokens:])


@pytest.mark.parametrize("size", [(500, 300), (300, 700), (97, 1200)])
def test_the_prompt_and_the_text_are_those_of_transformers(
    checkpoint: Path, processor: Any, client: Client, size: tuple[int, int]
) -> None:
    image = picture(*size)
    prompt_tokens, text = of_transformers(checkpoint, processor, image)
    answer = client.segment(image, QUERY, strategy=SHORT)
    assert answer.usage.prompt_tokens == prompt_tokens
    assert answer.payload["text"] == text
    assert answer.usage.completion_tokens == TOKENS


def test_an_image_costs_a_token_for_each_32_pixels_squared(processor: Any, client: Client) -> None:
    image = picture(640, 480)
    width, height = view_of(STRATEGY, image.size).size
    words = len(processor.tokenizer.encode(STRATEGY.prompt(QUERY)))
    usage = client.segment(image, QUERY, strategy=SHORT).usage
    turns = usage.prompt_tokens - words - width * height // IMAGE_TOKEN_PIXELS**2
    assert 0 < turns < 20  # of the chat template


def test_a_normalized_box_is_in_the_pixels_of_the_image(client: Client) -> None:
    answer = client.segment(picture(500, 300), SCRIPTED)
    assert (answer.status, answer.model.strategy) == ("found", "qwen3-vl")
    [found] = answer.instances
    assert tuple(found.box or ()) == BOX_IN_IMAGE
    assert found.mask.shape == (300, 500)
