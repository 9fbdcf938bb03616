"""Prompts of every kind, in mixed batches, against the sam2 package's own predictor."""

from collections.abc import Iterator
from typing import Any, get_args

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from numpy.typing import NDArray
from sam2.sam2_image_predictor import SAM2ImagePredictor

from miniature.scenes import Scene
from reference import iou, predictor_of
from segmenting import CPU, Predicted, scene
from wise_serve.contract.names import MaskChoice
from wise_serve.contract.prompts import COARSE_SIDE, Point, Prompt
from wise_serve.segmenter.model import DecodedMask, DecodeItem
from wise_serve.segmenter.sam2.checkpoints import load_model
from wise_serve.segmenter.sam2.model import Sam2
from wise_serve.segmenter.sam2.stages import coarse_logits

pytestmark = pytest.mark.filterwarnings(
    "ignore:`?torch.jit:DeprecationWarning", "ignore:`?torch.jit:FutureWarning"
)
SCENES, PROMPTS = 12, 300


@pytest.fixture(scope="module")
def drawn() -> list[tuple[Scene, NDArray[np.uint8]]]:
    return [scene(100 + seed) for seed in range(SCENES)]


def coarse(rng: np.random.Generator) -> bytes:
    """A disc somewhere, its edge blurred."""
    rows, columns = np.mgrid[0:COARSE_SIDE, 0:COARSE_SIDE]
    (x, y), radius = rng.uniform(40, 216, 2), rng.uniform(15, 90)
    distance = np.hypot(columns - x, rows - y)
    return bytes(((radius - distance).clip(0, 1) * 255).astype(np.uint8))


def random_prompt(rng: np.random.Generator, width: int, height: int) -> Prompt:
    """Any mixture of a box, up to six points of both labels and an earlier mask."""
    with_box, with_mask = rng.random(2) < (0.5, 0.4)
    count = int(rng.integers(0, 7))
    if not with_box and not with_mask:
        count = max(count, 1)
    (x1, x2), (y1, y2) = np.sort(rng.random((2, 2)) * [[width], [height]], axis=1).tolist()
    points: list[Point] = [(x * width, y * height) for x, y in rng.random((count, 2)).tolist()]
    return Prompt(
        (x1, y1, x2, y2) if with_box else None,
        tuple(points),
        tuple(rng.integers(0, 2, count).tolist()),
        coarse(rng) if with_mask else None,
        get_args(MaskChoice)[rng.integers(3)],
    )


@pytest.fixture(scope="module")
def prompts(drawn: list[tuple[Scene, NDArray[np.uint8]]]) -> list[tuple[int, Prompt]]:
    """Index of the image, and the prompt; images and kinds mixed."""
    rng = np.random.default_rng(23)
    made = []
    for number in range(PROMPTS):
        height, width = drawn[number % SCENES][1].shape[:2]
        made.append((number % SCENES, random_prompt(rng, width, height)))
    return made


def predicted(predictor: SAM2ImagePredictor, prompt: Prompt) -> list[Predicted]:
    """What the package answers, one prompt at a time: its masks by descending score."""
    asked: dict[str, Any] = {"multimask_output": prompt.choice != "single"}
    if prompt.points:
        asked |= {"point_coords": np.array(prompt.points), "point_labels": np.array(prompt.labels)}
    if prompt.box is not None:
        asked["box"] = np.array(prompt.box)
    if prompt.mask is not None:
        cells = np.frombuffer(prompt.mask, np.uint8).reshape(1, 1, COARSE_SIDE, COARSE_SIDE)
        asked["mask_input"] = coarse_logits(torch.from_numpy(cells.copy()), 64)[0].numpy()
    masks, scores, _ = predictor.predict(**asked)
    order = np.argsort(-scores, kind="stable")
    replies = [Predicted(masks[i].astype(bool), float(scores[i])) for i in order]
    return replies[:1] if prompt.choice == "best" else replies


@pytest.fixture(scope="module")
def expected(
    drawn: list[tuple[Scene, NDArray[np.uint8]]], prompts: list[tuple[int, Prompt]]
) -> list[list[Predicted]]:
    predictor = predictor_of(load_model("miniature", CPU))
    answers: dict[int, list[Predicted]] = {}
    for index, (_, pixels) in enumerate(drawn):
        predictor.set_image(pixels)
        for number, (image, prompt) in enumerate(prompts):
            if image == index:
                answers[number] = predicted(predictor, prompt)
    return [answers[number] for number in range(len(prompts))]


def assert_same(decoded: DecodedMask, replies: list[Predicted]) -> None:
    ours = [decoded, *decoded.alternatives]
    assert len(ours) == len(replies)
    for mask, reply in zip(ours, replies, strict=True):
        assert mask.score == pytest.approx(reply.score, abs=1e-4)
        assert iou(mask.mask, reply.mask) >= 0.999


def items_of(
    sam: Sam2,
    drawn: list[tuple[Scene, NDArray[np.uint8]]],
    prompts: list[tuple[int, Prompt]],
) -> Iterator[DecodeItem[Any]]:
    features = sam.encode([pixels for _, pixels in drawn])
    for image, prompt in prompts:
        height, width = drawn[image][1].shape[:2]
        yield DecodeItem(features[image], prompt, (height, width))


def test_the_prompts_are_of_every_kind(prompts: list[tuple[int, Prompt]]) -> None:
    kinds = {
        (prompt.box is not None, bool(prompt.points), prompt.mask is not None, prompt.choice)
        for _, prompt in prompts
    }
    assert len(kinds) == (2**3 - 1) * 3


@pytest.mark.parametrize("batch", [1, 7, 32])
def test_every_kind_equals_the_predictor_in_mixed_batches(
    sam: Sam2,
    drawn: list[tuple[Scene, NDArray[np.uint8]]],
    prompts: list[tuple[int, Prompt]],
    expected: list[list[Predicted]],
    batch: int,
) -> None:
    decoded: list[DecodedMask] = []
    items = list(items_of(sam, drawn, prompts))
    for start in range(0, len(items), batch):
        decoded += sam.decode(items[start : start + batch])
    for ours, theirs in zip(decoded, expected, strict=True):
        assert_same(ours, theirs)


def test_an_earlier_mask_matters(
    sam: Sam2, drawn: list[tuple[Scene, NDArray[np.uint8]]], prompts: list[tuple[int, Prompt]]
) -> None:
    with_mask = [(i, p) for i, p in prompts if p.mask is not None and (p.box or p.points)]
    without = [(i, replace(p, mask=None)) for i, p in with_mask]
    changed = [
        iou(one.mask, other.mask) < 0.999
        for one, other in zip(
            sam.decode(list(items_of(sam, drawn, with_mask))),
            sam.decode(list(items_of(sam, drawn, without))),
            strict=True,
        )
    ]
    assert np.mean(changed) > 0.5
