"""Masks in their three forms."""

import base64
import io

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from pictures import runs_of
from wise_serve.imaging import masks

any_mask = npst.arrays(np.bool_, npst.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))


def encode(mask: NDArray[np.bool_]) -> str:
    return masks.compress(mask.shape, runs_of(mask))


@given(any_mask)
def test_rle_equals_pycocotools(mask: NDArray[np.bool_]) -> None:
    assert encode(mask) == coco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()


@given(any_mask)
def test_rle_round_trip(mask: NDArray[np.bool_]) -> None:
    counts = encode(mask)
    assert counts.isascii()
    assert np.array_equal(masks.decode_rle(mask.shape, counts), mask)


@given(any_mask)
def test_png_round_trip(mask: NDArray[np.bool_]) -> None:
    encoded = masks.to_png(mask.shape, encode(mask))
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        assert image.mode == "1"
        assert np.array_equal(np.array(image), mask)


@given(any_mask)
def test_polygons_enclose_exactly_the_mask(mask: NDArray[np.bool_]) -> None:
    """Filled by the even-odd rule, the rings give the mask back, pixel by pixel."""
    rings = masks.to_polygons(mask.shape, encode(mask))
    height, width = mask.shape
    inside = np.zeros(mask.shape, bool)
    for ring in rings:
        for (x1, y1), (x2, y2) in zip(ring, [*ring[1:], ring[0]], strict=True):
            assert x1 == x2 or y1 == y2  # along the edges of pixels
            if x1 == x2:  # crossing it flips everything to its right
                inside[int(min(y1, y2)) : int(max(y1, y2)), int(x1) :] ^= True
    assert (inside == mask).all()
    assert all(0 <= x <= width and 0 <= y <= height for ring in rings for x, y in ring)


@given(any_mask)
def test_each_ring_is_valid_by_itself(mask: NDArray[np.bool_]) -> None:
    for ring in masks.to_polygons(mask.shape, encode(mask)):
        assert len(set(ring)) == len(ring) >= 4
        assert shapely.Polygon(ring).is_valid


def test_known_masks_have_their_published_counts() -> None:
    mask = np.zeros((2, 3), np.bool_)
    mask[:, 1] = True  # down the columns: two off, two on, two off
    assert encode(mask) == "222"


def test_a_ring_with_a_hole_becomes_two_rings() -> None:
    mask = np.zeros((9, 9), np.bool_)
    mask[1:8, 1:8] = True
    mask[4, 4] = False
    rings = masks.to_polygons((9, 9), encode(mask))
    assert [set(ring) for ring in rings] == [
        {(1.0, 1.0), (1.0, 8.0), (8.0, 8.0), (8.0, 1.0)},
        {(4.0, 4.0), (4.0, 5.0), (5.0, 5.0), (5.0, 4.0)},
    ]


@pytest.mark.parametrize("full", [False, True])
def test_masks_of_extreme_sizes(full: bool) -> None:
    mask = np.full((3, 5), full)
    counts = encode(mask)
    assert masks.decode_rle((3, 5), counts).sum() == (15 if full else 0)
    assert len(masks.to_polygons((3, 5), counts)) == int(full)
