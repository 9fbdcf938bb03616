"""Batched SAM 2 against the package's own predictor, on the same weights."""

import logging
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sam2.sam2_image_predictor import SAM2ImagePredictor
from sam2.utils.transforms import SAM2Transforms

from miniature.scenes import Scene, draw_scene
from segmenting import CPU, Predicted
from wise_serve.contract.errors import NotReady
from wise_serve.contract.prompts import Prompt
from wise_serve.segmenter.model import DecodedMask, DecodeItem
from wise_serve.segmenter.sam2 import checkpoints
from wise_serve.segmenter.sam2.checkpoints import load_model
from wise_serve.segmenter.sam2.model import Sam2
from wise_serve.segmenter.sam2.stages import Features, preprocess

pytestmark = pytest.mark.filterwarnings(
    "ignore:`?torch.jit:DeprecationWarning", "ignore:`?torch.jit:FutureWarning"
)
TINY = ("configs/sam2/sam2_hiera_t.yaml", "sam2_hiera_tiny.pt")  # config, weights
IMAGES, PROMPTS_PER_IMAGE = 20, 10


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(np.random.default_rng(5000 + i), max_side=700) for i in range(IMAGES)]


def random_prompt(rng: np.random.Generator, scene: Scene) -> Prompt:
    """A box about a shape or anywhere, and 0 to 3 points inside it, out of it, or repeated."""
    width, height = scene.image.size
    if rng.random() < 0.7:
        x1, y1, x2, y2 = scene.shapes[rng.integers(len(scene.shapes))].box
        x1, y1, x2, y2 = (v + float(rng.normal(0, 4)) for v in (x1, y1, x2, y2))
    else:
        (x1, x2), (y1, y2) = np.sort(rng.random((2, 2)) * [[width], [height]], axis=1).tolist()
    count = int(rng.choice([0, 1, 2, 3], p=[0.1, 0.2, 0.6, 0.1]))
    points = rng.uniform((x1 - 5, y1 - 5), (x2 + 5, y2 + 5), (count, 2)).round(1)
    return Prompt((x1, y1, x2, y2), tuple((float(x), float(y)) for x, y in points))


@pytest.fixture(scope="module")
def prompts(scenes: list[Scene]) -> list[tuple[int, Prompt]]:
    """Index of the image, and the prompt: 200 of them, images mixed."""
    rng = np.random.default_rng(17)
    made = [
        (index, random_prompt(rng, scene))
        for index, scene in enumerate(scenes)
        for _ in range(PROMPTS_PER_IMAGE)
    ]
    return [made[i] for i in rng.permutation(len(made))]


@pytest.fixture(scope="module")
def expected(scenes: list[Scene], prompts: list[tuple[int, Prompt]]) -> list[Predicted]:
    """What `SAM2ImagePredictor` says, one image and one prompt at a time."""
    logging.getLogger().setLevel(logging.WARNING)
    predictor = SAM2ImagePredictor(load_model("miniature", CPU))
    predictor._bb_feat_sizes = [(64, 64), (32, 32), (16, 16)]  # it assumes 1024 px
    answers: dict[int, Predicted] = {}
    for index, scene in enumerate(scenes):
        predictor.set_image(np.array(scene.image))
        for number, (image, prompt) in enumerate(prompts):
            if image == index:
                points = np.array(prompt.points) if prompt.points else None
                masks, scores, _ = predictor.predict(
                    point_coords=points,
                    point_labels=None if points is None else np.ones(len(points)),
                    box=np.array(prompt.box),
                    multimask_output=True,
                )
                best = int(scores.argmax())
                answers[number] = Predicted(masks[best].astype(bool), float(scores[best]))
    return [answers[number] for number in range(len(prompts))]


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    union = (one | other).sum()
    return 1.0 if union == 0 else float((one & other).sum() / union)


def assert_same(decoded: list[DecodedMask], expected: list[Predicted]) -> None:
    assert len(decoded) == len(expected)
    for ours, theirs in zip(decoded, expected, strict=True):
        assert ours.mask.shape == theirs.mask.shape
        assert iou(ours.mask, theirs.mask) >= 0.999
        assert ours.score == pytest.approx(theirs.score, abs=1e-4)


def encode_in_batches(sam: Sam2, scenes: list[Scene], sizes: list[int]) -> list[Features]:
    features: list[Features] = []
    for size in sizes:
        batch = scenes[len(features) : len(features) + size]
        features += sam.encode([np.array(scene.image) for scene in batch])
    return features


def item(
    features: list[Features], scenes: list[Scene], image: int, prompt: Prompt
) -> DecodeItem[Features]:
    width, height = scenes[image].image.size
    return DecodeItem(features[image], prompt, (height, width))


def test_preprocessing_is_the_packages(scenes: list[Scene]) -> None:
    theirs = SAM2Transforms(256, 0.0)
    for scene in scenes:
        pixels = np.array(scene.image)
        assert torch.equal(preprocess(pixels, 256, CPU), theirs(pixels))


def test_the_reference_makes_masks_at_all(expected: list[Predicted]) -> None:
    assert np.mean([answer.mask.any() for answer in expected]) > 0.9


def test_one_mask_equals_the_predictors(
    sam: Sam2,
    scenes: list[Scene],
    prompts: list[tuple[int, Prompt]],
    expected: list[Predicted],
) -> None:
    features = encode_in_batches(sam, scenes, [1] * IMAGES)
    assert_same([sam.decode([item(features, scenes, *p)])[0] for p in prompts], expected)


def test_batched_equals_the_predictor(
    sam: Sam2,
    scenes: list[Scene],
    prompts: list[tuple[int, Prompt]],
    expected: list[Predicted],
) -> None:
    features = encode_in_batches(sam, scenes, [8, 5, 4, 2, 1])
    decoded: list[DecodedMask] = []
    for size in (32, 1, 16, 2, 7, 64, 78):
        batch = prompts[len(decoded) : len(decoded) + size]
        decoded += sam.decode([item(features, scenes, *p) for p in batch])
    assert_same(decoded, expected)


def test_the_miniature_finds_the_shapes(sam: Sam2) -> None:
    """Exact prompts on scenes of its domain; `train_segmenter --evaluate` measures it in full."""
    found = []
    for seed in range(20):
        scene = draw_scene(np.random.default_rng(7000 + seed), max_side=600, aspect=1.3)
        features = sam.encode([np.array(scene.image)])[0]
        items = [
            DecodeItem(features, Prompt(shape.box, (shape.centre,) * 2), shape.mask.shape)
            for shape in scene.shapes
        ]
        found += [
            iou(shape.mask, decoded.mask)
            for shape, decoded in zip(scene.shapes, sam.decode(items), strict=True)
        ]
    assert np.mean(found) >= 0.9


def test_a_checkpoint_that_cannot_be_downloaded_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(checkpoints, "HF_MODEL_ID_TO_FILENAMES", {"nobody/sam": TINY})
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(NotReady, match="could not be downloaded"):
        load_model("nobody/sam", CPU)


def test_an_unknown_checkpoint_is_named() -> None:
    with pytest.raises(NotReady, match=r"'sam-9'.*facebook/sam2-hiera-large"):
        load_model("sam-9", CPU)
