"""LoRA adapters on the real engine: chosen by strategy, side by side in a batch, never mixed."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL.Image import Image, Resampling
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

from adapter_files import write_adapter
from miniature.queries import make_query
from miniature.scenes import draw_scene
from running import running_server
from wise_client import Client, Segmentation
from wise_serve.miniature import REASONER_FOLDER, REASONER_IMAGE_SIZE
from wise_serve.reasoner import FinishReason
from wise_serve.reasoner.answer import Frame, read_answer
from wise_serve.reasoner.strategies import STRATEGIES
from wise_serve.reasoner.strategies.files import shipped_file

SEED = 8_800_000  # never used in training
SCENES = 6
IN_FLIGHT = 8
TOKENS = 48
ADAPTERS = ("one", "two")
ASKED = ("wise-s", *ADAPTERS)  # each adapter has a strategy of its name, which differs in no word


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, torch.Tensor]]:
    folder = tmp_path_factory.getbasetemp() / "adapters"
    return {name: write_adapter(folder / name, seed=i) for i, name in enumerate(ADAPTERS)}


@pytest.fixture(scope="module")
def client(
    adapters: dict[str, dict[str, torch.Tensor]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    flags = ["--max-thinking-tokens", str(TOKENS)]
    for name in adapters:
        file = tmp_path_factory.mktemp("strategies") / f"{name}.json"
        asked = json.loads(shipped_file("wise-s")) | {"name": name, "lora": name}
        file.write_text(json.dumps(asked))
        folder = tmp_path_factory.getbasetemp() / "adapters" / name
        flags += ["--strategy-file", str(file), "--reasoner-lora", f"{name}={folder}"]
    with running_server(*flags) as running, Client(running.url) as made:
        yield made


@pytest.fixture(scope="module")
def scenes() -> list[tuple[Image, str]]:
    rng = np.random.default_rng(SEED)
    made: list[tuple[Image, str]] = []
    while len(made) < SCENES:
        scene = draw_scene(rng, max_side=320)
        query = make_query(scene, rng, "attribute")
        if query is not None:
            made.append((scene.image, query.text))
    return made


def written(answer: Segmentation) -> tuple[str, str, str, int]:
    """All of an answer that depends on the generated text."""
    boxes = str([one.box for one in answer.instances])
    text = str(answer.payload.get("text"))
    return answer.reasoning, boxes, text, answer.usage.completion_tokens


def merged(added: dict[str, torch.Tensor]) -> Qwen2_5_VLForConditionalGeneration:
    """transformers' own class, with an adapter added to its weights."""
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(REASONER_FOLDER, dtype=torch.float32)
    matrices = dict(model.named_parameters())
    with torch.no_grad():
        for name, addition in added.items():
            matrices[name.replace("model.", "model.language_model.", 1)] += addition
    return model.eval()


def greedy(model: Qwen2_5_VLForConditionalGeneration, image: Image, query: str) -> str:
    """What it writes, up to `</answer>` or the limit of tokens."""
    processor = AutoProcessor.from_pretrained(REASONER_FOLDER)
    square = image.resize((REASONER_IMAGE_SIZE, REASONER_IMAGE_SIZE), Resampling.BILINEAR)
    turn = [{"type": "image"}, {"type": "text", "text": STRATEGIES["wise-s"].prompt(query)}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": turn}], tokenize=False, add_generation_prompt=True
    )
    inputs = processor(text=[text], images=[square], return_tensors="pt")
    tokens = model.generate(**inputs, do_sample=False, max_new_tokens=TOKENS)
    whole: str = processor.tokenizer.decode(
        tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    before, closed, _ = whole.partition("</answer>")
    return before + closed


@pytest.mark.parametrize("name", ASKED)
def test_an_adapter_answers_as_if_it_were_merged(
    adapters: dict[str, dict[str, torch.Tensor]],
    client: Client,
    scenes: list[tuple[Image, str]],
    name: str,
) -> None:
    assert client.info()["models"]["reasoner_adapters"] == list(ADAPTERS)
    model = merged(adapters.get(name, {}))
    for image, query in scenes[:3]:
        text = greedy(model, image, query)
        frame = Frame(*image.size, REASONER_IMAGE_SIZE)
        ended: FinishReason = "stop" if text.endswith("</answer>") else "length"
        expected = read_answer(text, ended, STRATEGIES["wise-s"], frame)
        answer = client.segment(image, query, strategy=name)
        assert (answer.status, answer.reasoning) == (expected.status, expected.rationale)
        boxes = [one.box for one in answer.instances]
        assert boxes == [one.box for one in expected.instances]
        assert answer.payload.get("text") in (None, text)


def test_concurrent_requests_do_not_mix(client: Client, scenes: list[tuple[Image, str]]) -> None:
    """The same images and prompts under each adapter: only the adapter tells their caches apart."""
    cases = [(image, query, name) for image, query in scenes for name in ASKED]

    def ask(case: tuple[Image, str, str]) -> tuple[str, str, str, int]:
        image, query, name = case
        return written(client.segment(image, query, strategy=name))

    alone = list(map(ask, cases))
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        together = list(pool.map(ask, cases * 2))
    assert together == alone * 2
    different = sum(len(set(alone[i : i + 3])) == len(ASKED) for i in range(0, len(alone), 3))
    assert different >= SCENES - 1
