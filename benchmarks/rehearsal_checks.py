"""The requests of the rehearsal, and the checks of their answers."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm
from transformers import AutoProcessor

from reference import best_mask, iou, predictor_of
from rehearsal_published import ADDED_TOKENS, IMAGE_TOKEN_ID
from rehearsal_server import FREELY
from rehearsal_texts import (
    BOX_IN_IMAGE,
    POINTS_IN_IMAGE,
    TEXTS,
    Counts,
    Written,
    bytes_by_token,
    count,
)
from wise_client import Client, Done, InvalidFieldError, RetryPolicy, Segmentation, ThinkingDelta
from wise_client.config import Timeouts
from wise_serve.imaging.images import resized
from wise_serve.reasoner.engine import PUBLIC_IMAGE_SIZE
from wise_serve.reasoner.strategies import STRATEGIES
from wise_serve.segmenter.sam2.checkpoints import build_public

IMAGE_TOKENS = (PUBLIC_IMAGE_SIZE // 28) ** 2
IMAGE_SIZE = (1000, 500)  # pixels, width and height
ANSWER_WITHIN_S = 900.0
LEAST_IOU = 0.99


@dataclass(frozen=True)
class Finding:
    """One result of the rehearsal. found: the observed value, for the report."""

    name: str
    ok: bool
    found: str


def picture() -> Image.Image:
    """An RGB image of IMAGE_SIZE, blocks of colours."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (10, 20, 3), np.uint8)
    return Image.fromarray(blocks).resize(IMAGE_SIZE, Image.Resampling.BICUBIC)


class Questions:
    """Asks a server that runs `rehearsal_server.py` on the checkpoint in `folder`."""

    def __init__(self, url: str, folder: Path) -> None:
        self._client = Client(
            url,
            timeouts=Timeouts(read_s=ANSWER_WITHIN_S),
            retry=RetryPolicy(max_retries=0),
        )
        self._processor = AutoProcessor.from_pretrained(folder)
        self._vocabulary = bytes_by_token()
        self._image = picture()

    def findings(self, segmenter: str, max_tokens: int) -> list[Finding]:
        """Everything, in order. segmenter: SAM 2's hub name, for masks by its package."""
        self._client.segment(self._image, "warm-up")  # the image's prefix is in the cache now
        with ThreadPoolExecutor(len(TEXTS)) as pool:
            asked = pool.map(self._written, TEXTS)
            answers = list(tqdm(asked, "scripted answers", len(TEXTS)))
        found = [self._read(one, answer) for one, answer in zip(TEXTS, answers, strict=True)]
        found.append(self._split(TEXTS))
        found.append(self._streamed(TEXTS[1]))
        found.append(self._prompt(TEXTS[0], answers[0]))
        found.append(self._coordinates(answers[0]))
        found.append(self._mask(answers[0], segmenter))
        found.append(self._refusals())
        found += self._free(max_tokens)
        return found

    def _written(self, one: Written) -> Segmentation:
        strategy: Any = one.strategy
        return self._client.segment(self._image, one.query, strategy=strategy)

    def _expected(self, one: Written) -> Counts:
        token_ids = self._processor.tokenizer.encode(one.text)
        return count(one.text, token_ids, self._vocabulary)

    def _read(self, one: Written, answer: Segmentation) -> Finding:
        expected, usage = self._expected(one), answer.usage
        counted = (usage.thinking_tokens, usage.answer_tokens, usage.completion_tokens)
        wanted = (expected.thinking, expected.answer, expected.completion)
        ok = (
            counted == wanted
            and answer.status == "found"
            and answer.reasoning.strip() == one.rationale.strip()
            and len(answer.instances) == one.objects
        )
        found = f"tokens (thinking, answer, all) {counted}, expected {wanted}; {answer.status}"
        return Finding(f"read and counted: {one.query}", ok, found)

    def _split(self, written: tuple[Written, ...]) -> Finding:
        counts = [self._expected(one) for one in written]
        tags, letters = sum(c.tags_split for c in counts), sum(c.letters_split for c in counts)
        found = f"{tags} of {4 * len(counts)} tags and {letters} letters lie in several tokens"
        return Finding("tags and letters split over tokens", tags > 0 < letters, found)

    def _streamed(self, one: Written) -> Finding:
        strategy: Any = one.strategy
        events = list(self._client.stream(self._image, one.query, strategy=strategy))
        pieces = [event.text for event in events if isinstance(event, ThinkingDelta)]
        ok = isinstance(events[-1], Done) and "".join(pieces).strip() == one.rationale
        return Finding("streamed letters are whole", ok, f"{len(pieces)} pieces")

    def _prompt(self, one: Written, answer: Segmentation) -> Finding:
        """The prompt's tokens against those of transformers' processor."""
        text = STRATEGIES["wise-s"].prompt(one.query)
        turn = [{"type": "image"}, {"type": "text", "text": text}]
        chat = self._processor.apply_chat_template(
            [{"role": "user", "content": turn}], tokenize=False, add_generation_prompt=True
        )
        square = resized(self._image, (PUBLIC_IMAGE_SIZE,) * 2)
        token_ids = self._processor(text=[chat], images=[square])["input_ids"][0]
        image = sum(number == IMAGE_TOKEN_ID for number in token_ids)
        sent = answer.usage.prompt_tokens
        found = f"{sent} tokens, transformers' processor: {len(token_ids)}, {image} of the image"
        return Finding("the prompt", sent == len(token_ids) and image == IMAGE_TOKENS, found)

    def _coordinates(self, answer: Segmentation) -> Finding:
        [one] = answer.instances
        ok = one.box == BOX_IN_IMAGE and one.points == POINTS_IN_IMAGE
        return Finding("coordinates of an 840 square", ok, f"box {one.box}, points {one.points}")

    def _mask(self, answer: Segmentation, segmenter: str) -> Finding:
        torch.manual_seed(0)  # as `write_segmenter`
        predictor = predictor_of(build_public(segmenter).eval())
        with torch.inference_mode():
            predictor.set_image(np.array(self._image))
            expected = best_mask(predictor, BOX_IN_IMAGE, POINTS_IN_IMAGE)
        overlap = iou(answer.mask, expected)
        found = f"{answer.instances[0].area} pixels, IoU {overlap:.4f} with the package's"
        return Finding(f"mask of {segmenter}", overlap >= LEAST_IOU, found)

    def _refusals(self) -> Finding:
        """Every added token, also in capital letters, which lower-casing would turn into the
        token."""
        queries = [f"the cup {text}" for token in ADDED_TOKENS for text in (token, token.upper())]
        refused = 0
        for query in queries:
            try:
                self._client.segment(self._image, query)
            except InvalidFieldError:
                refused += 1
        return Finding(
            "added tokens in a query", refused == len(queries), f"{refused} of {len(queries)}"
        )

    def _free(self, max_tokens: int) -> list[Finding]:
        """Without a form: noise up to the limit, the same each time whatever the checkpoint's
        `generation_config.json` asks for. The first answer does not count: it computes what the
        prefix cache holds for the others, and sums in another order differ in the last bit."""
        _, one, other = (self._client.segment(self._image, FREELY) for _ in range(3))
        same = one.to_dict() | _UNLIKE == other.to_dict() | _UNLIKE
        alike = (
            f"two answers of the same {len(one.payload['text'])} letters" if same else "they differ"
        )
        tokens = one.usage.completion_tokens
        return [
            Finding("sampling of generation_config.json is not used", same, alike),
            Finding(
                "noise is cut at the limit",
                one.status == "truncated" and tokens == max_tokens,
                f"{one.status} after {tokens} tokens",
            ),
        ]


_UNLIKE: dict[str, Any] = {"id": None, "timing_ms": None}


def report(findings: list[Finding]) -> str:
    """One line each."""
    return "\n".join(f"{'ok' if f.ok else 'FAILED':8} {f.name}: {f.found}" for f in findings)


def checked(output: str) -> dict[str, str]:
    """What `wise-serve check --json` found, by the name of the check."""
    return {check["name"]: check["found"] for check in json.loads(output)["checks"]}
