"""The segmenter's levers: what each changes, on a CPU."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from levers import decode, images, prompts, sam
from reference import best_mask, iou, predictor_of
from segmenting import CPU, prompts_of, scene, segment, segmenting
from wise_serve.contract.names import Precision
from wise_serve.imaging import masks
from wise_serve.segmenter.model import DecodeItem
from wise_serve.segmenter.sam2.checkpoints import load_model
from wise_serve.segmenter.sam2.precision import Levers

pytestmark = pytest.mark.filterwarnings("ignore:`?torch.jit:FutureWarning")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


# What is computed once


@pytest.mark.parametrize("batch", [1, 5])
def test_cached_constants_change_no_bit(batch: int) -> None:
    plain, kept = sam(Levers(constants=False)), sam()
    for one, other in zip(
        plain.encode(images()[:batch]), kept.encode(images()[:batch]), strict=True
    ):
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.high_res[0], other.high_res[0])
        assert torch.equal(one.high_res[1], other.high_res[1])
    asked = [question for question in prompts() if question[0] < batch]
    for theirs, ours in zip(decode(plain, asked), decode(kept, asked), strict=True):
        assert np.array_equal(theirs.runs, ours.runs)
        assert theirs.score == ours.score


# Half precision


@pytest.mark.parametrize(
    ("precision", "mean", "least"), [("bfloat16", 0.998, 0.95), ("float16", 0.9998, 0.995)]
)
def test_an_encoder_in_half_stays_near_the_public_code(
    precision: Precision, mean: float, least: float
) -> None:
    asked = prompts(points=2)
    decoded = decode(sam(Levers(precision)), asked)
    predictor = predictor_of(load_model("miniature", CPU))
    found = []
    for (index, prompt), ours in zip(asked, decoded, strict=True):
        predictor.set_image(images()[index])
        found.append(iou(ours.mask, best_mask(predictor, prompt.box, prompt.points)))
    assert np.mean(found) >= mean
    assert min(found) >= least


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_weights_held_in_half_are_those_that_autocast_makes(precision: Precision) -> None:
    cast, plain = sam(Levers(precision)), sam(Levers(precision))
    plain._model = load_model("miniature", CPU)  # its weights as they come
    for one, other in zip(cast.encode(images()), plain.encode(images()), strict=True):
        assert one.image.dtype == one.high_res[0].dtype == getattr(torch, precision)
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.high_res[1], other.high_res[1])


def test_embeddings_in_half_take_half_the_memory() -> None:
    (full,), (half,) = sam().encode(images()[:1]), sam(Levers("float16")).encode(images()[:1])
    assert half.nbytes * 2 == full.nbytes


async def test_a_worker_takes_its_precision_from_the_settings() -> None:
    drawn, pixels = scene(3)
    async with segmenting(segmenter_precision="bfloat16") as (client, _):
        found = await segment(client, 3)
    half, full = sam(Levers("bfloat16")), sam()
    for mask, prompt in zip(found, prompts_of(drawn), strict=True):
        scores = []
        for model in (half, full):
            item = DecodeItem(model.encode([pixels])[0], prompt, pixels.shape[:2])
            scores.append(model.decode([item])[0])
        assert abs(mask.score - scores[0].score) < abs(mask.score - scores[1].score)
        assert iou(masks.decode_rle(mask.size, mask.counts), scores[0].mask) >= 0.98


# Waiting for the device


class Waits(TorchFunctionMode):
    """Calls for which the host would wait for a GPU, by name."""

    NAMES = ("tolist", "item", "cpu", "nonzero", "__bool__", "__int__", "__float__", "__index__")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in self.NAMES:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


def test_an_encode_does_not_wait_for_the_device() -> None:
    model = sam()
    with Waits() as waits:
        model.encode(images())
    assert waits.seen == []


@pytest.mark.parametrize("count", [1, 12])
def test_a_decode_waits_no_more_often_for_many_masks_than_for_one(count: int) -> None:
    """For the masks' windows, for the number of runs, for the runs, for the scores."""
    model, pictures = sam(), images()
    features = model.encode(pictures)
    items = [DecodeItem(features[i], p, pictures[i].shape[:2]) for i, p in prompts()[:count]]
    with Waits() as waits:
        model.decode(items)
    assert waits.seen == ["tolist", "nonzero", "cpu", "tolist"]
