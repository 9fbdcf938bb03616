"""Run lengths straight from the logits, against the full-size mask and COCO's own encoder."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco
from torch.nn import functional

from wise_serve.imaging import masks
from wise_serve.segmenter.sam2 import rle as runs
from wise_serve.segmenter.sam2.rle import mask_runs

SIZES = [(64, 64), (480, 640), (641, 97), (96, 2048), (37, 53), (1, 1), (3, 1000)]


def blobs(seed: int, cover: float) -> torch.Tensor:
    """64 x 64 logits: a few smooth blobs, positive in about `cover` of the cells."""
    noise = torch.from_numpy(np.random.default_rng(seed).normal(size=(1, 1, 9, 9))).float()
    smooth = functional.interpolate(noise, (64, 64), mode="bicubic")[0, 0]
    return smooth - torch.quantile(smooth, 1 - cover)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cover", [0.02, 0.3, 0.98])
def test_runs_are_those_of_the_full_size_mask(size: tuple[int, int], cover: float) -> None:
    for seed in range(5):
        logits = blobs(seed, cover)
        full = functional.interpolate(
            logits[None, None], size, mode="bilinear", align_corners=False
        )[0, 0]
        (found,) = mask_runs(logits[None], [size])
        counts = masks.compress(size, found)
        ours = masks.decode_rle(size, counts)
        # Where the upsampled logit is 0 within rounding, both values are right.
        sure = (full.abs() > 1e-4).numpy()
        assert np.array_equal(ours[sure], (full > 0).numpy()[sure])
        assert found[1::2].sum() == ours.sum()
        assert (found[1:] > 0).all()
        assert counts == coco.encode(np.asfortranarray(ours, np.uint8))["counts"].decode()


@pytest.mark.parametrize(("value", "expected"), [(-1.0, [12]), (1.0, [0, 12])])
def test_an_empty_and_a_full_mask(value: float, expected: list[int]) -> None:
    assert mask_runs(torch.full((1, 4, 4), value), [(3, 4)])[0].tolist() == expected


def test_a_run_goes_on_in_the_next_column() -> None:
    logits = torch.tensor([[-1.0, 1.0], [1.0, -1.0]])
    assert mask_runs(logits[None], [(2, 2)])[0].tolist() == [1, 2, 1]


@pytest.mark.parametrize("at_once", [1, 100_000, runs.AT_ONCE_PIXELS])
def test_in_a_batch_each_mask_has_the_runs_it_has_alone(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(runs, "AT_ONCE_PIXELS", at_once)
    cover = [0.02, 0.3, 0.98, 0.0, 0.5, 0.0, 0.02]
    logits = torch.stack([blobs(seed, part) - float(part == 0) for seed, part in enumerate(cover)])
    found = mask_runs(logits, SIZES)
    for one, size, batched in zip(logits, SIZES, found, strict=True):
        (alone,) = mask_runs(one[None], [size])
        assert batched.tolist() == alone.tolist()
        assert batched.sum() == size[0] * size[1]
    assert found[3].tolist() == [96 * 2048]


def test_weights_of_a_long_side_are_not_kept() -> None:
    runs._kept_weights.cache_clear()
    found = mask_runs(torch.ones(1, 64, 64), [(2, 200_000)])  # of 51 MB
    assert found[0].tolist() == [0, 400_000]
    assert runs._kept_weights.cache_info().currsize == 1  # those of the height
