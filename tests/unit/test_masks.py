"""Masks in their three forms."""

import base64
import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from PIL import Image

from wise_serve import masks

any_mask = npst.arrays(np.bool_, npst.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))


@given(any_mask)
def test_rle_round_trip(mask: NDArray[np.bool_]) -> None:
    counts = masks.encode_rle(mask)
    assert counts.isascii()
    assert np.array_equal(masks.decode_rle(mask.shape, counts), mask)
    assert masks.area(mask.shape, counts) == mask.sum()


@given(any_mask)
def test_png_round_trip(mask: NDArray[np.bool_]) -> None:
    encoded = masks.to_png(mask.shape, masks.encode_rle(mask))
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        assert image.mode == "1"
        assert np.array_equal(np.array(image), mask)


@given(any_mask)
def test_polygons_cover_the_mask(mask: NDArray[np.bool_]) -> None:
    """Outer rings filled, then holes cut, give the mask back: nothing is lost but the format."""
    rings = masks.to_polygons(mask.shape, masks.encode_rle(mask))
    drawn = np.zeros(mask.shape, np.uint8)
    vertices = [np.array(ring, np.int32) for ring in rings]
    for ring in vertices:  # every vertex lies on the image
        assert (ring >= 0).all()
        assert (ring < mask.shape[::-1]).all()
    if vertices:
        cv2.drawContours(drawn, vertices, -1, 1, cv2.FILLED)
    assert (drawn.astype(bool) & mask).sum() == mask.sum()


def test_known_counts() -> None:
    mask = np.zeros((2, 3), np.bool_)
    mask[:, 1] = True  # down the columns: two off, two on, two off
    assert masks.encode_rle(mask) == "222"


def test_a_ring_with_a_hole_is_two_rings() -> None:
    mask = np.zeros((9, 9), np.bool_)
    mask[1:8, 1:8] = True
    mask[4, 4] = False
    rings = masks.to_polygons((9, 9), masks.encode_rle(mask))
    assert sorted(len(ring) for ring in rings) == [4, 4]
    assert [(1.0, 1.0), (1.0, 7.0), (7.0, 7.0), (7.0, 1.0)] in rings


@pytest.mark.parametrize("full", [False, True])
def test_extremes(full: bool) -> None:
    mask = np.full((3, 5), full)
    counts = masks.encode_rle(mask)
    assert masks.area((3, 5), counts) == (15 if full else 0)
    assert len(masks.to_polygons((3, 5), counts)) == int(full)
