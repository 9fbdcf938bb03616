"""Mask formats, and polygons that enclose exactly the mask's pixels."""

import base64
import io

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw

from wise_client import UnexpectedAnswerError, masks
from wise_client.polygons import Polygon, polygons, without_holes

SMALL_MASKS = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def png_of(mask: np.ndarray) -> str:
    out = io.BytesIO()
    Image.fromarray(mask).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


@given(SMALL_MASKS)
@settings(max_examples=60)
def test_rle_and_png_round_trip(mask: np.ndarray) -> None:
    size = (mask.shape[1], mask.shape[0])
    for payload in (masks.encode(mask), png_of(mask), {"size": [], "png": png_of(mask)}):
        decoded = masks.decode(payload, size)
        assert decoded.dtype == bool
        assert np.array_equal(decoded, mask)


def test_long_runs_round_trip() -> None:
    rng = np.random.default_rng(0)
    for share in (0.001, 0.1, 0.5, 1.0):
        mask = rng.random((300, 401)) < share
        assert np.array_equal(masks.decode(masks.encode(mask), (401, 300)), mask)


def test_flat_rings_are_accepted() -> None:
    rings = [[1, 1, 4, 1, 4, 3, 1, 3], [6, 0, 8, 0, 8, 5, 6, 5]]
    expected = np.zeros((5, 9), bool)
    expected[1:3, 1:4] = expected[0:5, 6:8] = True
    for payload in (rings, {"size": [5, 9], "polygons": rings}):
        assert np.array_equal(masks.decode(payload, (9, 5)), expected)
    assert not masks.decode([], (9, 5)).any()


@pytest.mark.parametrize(
    "payload",
    [
        None,
        7,
        "not base64!",
        base64.b64encode(b"no png").decode(),
        {},
        {"size": [5, 9]},
        {"size": [5], "counts": "0"},
        {"size": [9, 5], "counts": "0"},
        {"size": [10**9, 10**9], "counts": "0"},
        {"size": [5, 9], "counts": "zzzzzzzz"},
        {"size": [5, 9], "counts": "\u20ac"},
        {"size": [5, 9], "counts": "]]]]"},
        {"size": [5, 9], "counts": ""},
        {"size": [5, 9], "counts": "0"},
        {"size": [5, 9], "counts": masks.encode(np.ones((4, 9), bool))["counts"]},
        {"size": [5, 9], "counts": masks.encode(np.ones((6, 9), bool))["counts"]},
        {"size": [5, 9], "counts": masks.encode(np.eye(5, 9, dtype=bool))["counts"][:-1]},
        {"size": [5, 9], "png": png_of(np.ones((4, 9), bool))},
        [["a", "b", "c", "d", "e", "f"]],
    ],
)
def test_a_wrong_mask_is_reported(payload: object) -> None:
    with pytest.raises(UnexpectedAnswerError, match="mask"):
        masks.decode(payload, (9, 5))


def test_resizing_keeps_edges_in_place() -> None:
    small = np.zeros((10, 20), bool)
    small[2:6, 5:15] = True
    large = masks.resize(small, (80, 40))
    expected = np.zeros((40, 80), bool)
    expected[8:24, 20:60] = True
    assert large.shape == (40, 80)
    corners = 4 * 4  # bilinear rounds the corners off
    assert np.count_nonzero(large ^ expected) <= corners
    assert masks.resize(small, (20, 10)) is small


@given(SMALL_MASKS)
@settings(max_examples=60)
def test_tight_box(mask: np.ndarray) -> None:
    x, y, width, height = masks.tight_box(mask)
    assert np.count_nonzero(mask[y : y + height, x : x + width]) == np.count_nonzero(mask)
    if mask.any():
        inside = mask[y : y + height, x : x + width]
        assert inside[0].any()
        assert inside[-1].any()
        assert inside[:, 0].any()
        assert inside[:, -1].any()


def filled(parts: list[Polygon], shape: tuple[int, int]) -> np.ndarray:
    """Even-odd fill of all rings, each pixel by its centre."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    crossings = np.zeros(shape, int)
    for ring in (ring for part in parts for ring in (part.exterior, *part.holes)):
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if x0 == x1:
                crossings += (x0 > x) & (min(y0, y1) < y) & (y < max(y0, y1))
    return np.asarray(crossings % 2 == 1)


@given(SMALL_MASKS)
@settings(max_examples=100)
def test_polygon_masks_round_trip(mask: np.ndarray) -> None:
    rings = [ring for part in polygons(mask) for ring in (part.exterior, *part.holes)]
    payload = {"size": list(mask.shape), "polygons": [ring.tolist() for ring in rings]}
    assert np.array_equal(masks.decode(payload, mask.shape[::-1]), mask)


@given(SMALL_MASKS)
@settings(max_examples=200)
def test_polygons_enclose_exactly_the_mask(mask: np.ndarray) -> None:
    parts = polygons(mask)
    assert np.array_equal(filled(parts, mask.shape), mask)
    for part in parts:
        for ring in (part.exterior, *part.holes):
            steps = np.roll(ring, -1, axis=0) - ring
            assert ((steps == 0).sum(axis=1) == 1).all()  # along one axis, never of length 0
            assert ((steps[:, 0] == 0) != (np.roll(steps, 1, axis=0)[:, 0] == 0)).all()  # turns


def valid(parts: list[Polygon]) -> shapely.MultiPolygon:
    made = shapely.MultiPolygon([(part.exterior, part.holes) for part in parts])
    assert made.is_valid, shapely.is_valid_reason(made)
    return made


@given(SMALL_MASKS)
@settings(max_examples=300)
def test_polygons_are_valid_by_ogc_s_rules(mask: np.ndarray) -> None:
    assert valid(polygons(mask)).area == np.count_nonzero(mask)


@pytest.mark.slow
def test_polygons_of_large_masks_are_valid() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        coarse = Image.fromarray(rng.integers(0, 255, (12, 16), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((160, 120), Image.Resampling.BICUBIC)) > 128
        noisy = rng.random((60, 80)) < rng.random()
        for mask in (smooth, noisy):
            assert valid(polygons(mask)).area == np.count_nonzero(mask)


@given(SMALL_MASKS)
@settings(max_examples=200)
def test_rings_without_holes_enclose_exactly_the_mask(mask: np.ndarray) -> None:
    rings = without_holes(mask)
    assert np.array_equal(filled([Polygon(ring) for ring in rings], mask.shape), mask)
    pieces = [shapely.Polygon(ring) for ring in rings]
    assert all(piece.is_valid for piece in pieces)
    assert sum(piece.area for piece in pieces) == np.count_nonzero(mask)  # none lies on another


def test_a_part_with_hundreds_of_holes_is_cut_in_little_time() -> None:
    mask = np.ones((1200, 1600), bool)
    mask[10:-10:40, 10:-10:40] = False
    assert sum(shapely.Polygon(ring).area for ring in without_holes(mask)) == mask.sum()


@pytest.mark.parametrize(
    ("rows", "holes"),
    [
        (["XXXX", "X...", "X..X", "XXXX"], 0),  # open
        (["XXXX", "X..X", "X..X", "XXX."], 1),  # closed by a diagonal
        (["XXXX", "X.XX", "XX.X", "XXXX"], 2),  # two hole pixels that meet at a corner
    ],
)
def test_a_part_that_touches_itself_at_a_corner(rows: list[str], holes: int) -> None:
    mask = np.array([[letter == "X" for letter in row] for row in rows])
    (part,) = polygons(mask)
    assert len(part.holes) == holes
    assert valid([part]).area == mask.sum()


def test_a_ring_with_an_island_in_its_hole() -> None:
    mask = np.zeros((9, 9), bool)
    mask[1:8, 1:8] = True
    mask[2:7, 2:7] = False
    mask[4, 4] = True
    outer, island = polygons(mask)
    assert [len(outer.holes), len(island.holes)] == [1, 0]
    assert sorted(map(tuple, island.exterior.tolist())) == [(4, 4), (4, 5), (5, 4), (5, 5)]


def test_parts_that_touch_at_a_corner_are_two() -> None:
    assert len(polygons(np.eye(2, dtype=bool))) == 2


def test_a_large_disc_is_traced_in_little_time() -> None:
    picture = Image.new("1", (1000, 1000))
    ImageDraw.Draw(picture).ellipse((10, 10, 990, 990), fill=1)
    (disc,) = polygons(np.asarray(picture))
    assert len(disc.exterior) > 500
    assert not disc.holes
