"""The page's decoder of COCO's compressed RLE against pycocotools."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco

from gateway_thread import Serve
from playground_page import Playground

_DECODE = """
state.size = { height: arguments[0].size[0], width: arguments[0].size[1] };
const ends = decodeRle(arguments[0]);
return { ends: [...ends], box: maskBox({ ends }) };
"""


def masks() -> list[NDArray[np.uint8]]:
    """Empty, full, first and last pixel, thin, coarse and fine noise, large smooth discs."""
    noise = np.random.default_rng(7)
    made: list[NDArray[Any]] = [
        np.zeros((5, 7)),
        np.ones((5, 7)),
        np.ones((1, 1)),
        np.eye(9),
        np.zeros((1, 300)),
    ]
    over_the_edge = np.zeros((5, 7))  # one run, from the foot of a column to the head of the next
    over_the_edge[4, 2] = over_the_edge[0, 3] = 1
    made.append(over_the_edge)
    for y, x in ((0, 0), (4, 6), (4, 0), (0, 6)):
        corner = np.zeros((5, 7))
        corner[y, x] = 1
        made.append(corner)
    made += [noise.random((h, w)) < share for h, w, share in
             ((3, 400, 0.5), (400, 3, 0.1), (97, 101, 0.5), (64, 64, 0.99))]  # fmt: skip
    ys, xs = np.mgrid[0:1200, 0:1600]
    made += [np.hypot(ys - 500, xs - 900) < radius for radius in (3, 120, 499, 3000)]
    return [np.asfortranarray(mask, np.uint8) for mask in made]


def test_the_page_decodes_what_pycocotools_encodes(page: Playground, serve: Serve) -> None:
    page.open(serve().url)
    for mask in masks():
        encoded = coco.encode(mask)
        text = encoded["counts"].decode()
        got: dict[str, Any] = page.run(_DECODE, {"size": list(mask.shape), "counts": text})
        runs = np.diff(got["ends"], prepend=0)
        pixels = np.repeat(np.arange(len(runs)) % 2, runs).reshape(mask.shape, order="F")
        np.testing.assert_array_equal(pixels, mask)
        assert got["box"] == coco.toBbox(encoded).tolist()


def test_the_page_knows_which_pixels_are_covered(page: Playground, serve: Serve) -> None:
    page.open(serve().url)
    mask = np.asfortranarray(np.random.default_rng(3).random((13, 17)) < 0.4, np.uint8)
    text = coco.encode(mask)["counts"].decode()
    page.run(_DECODE, {"size": [13, 17], "counts": text})
    got = page.run(
        "const ends = decodeRle(arguments[0]), seen = [];"
        "for (let y = 0; y < 13; y++)"
        "  for (let x = 0; x < 17; x++) seen.push(covers({ ends }, x, y));"
        "return seen",
        {"size": [13, 17], "counts": text},
    )
    np.testing.assert_array_equal(np.reshape(got, (13, 17)), mask > 0)


@pytest.mark.parametrize("counts", ["", "0", "5", "zzzz"])
def test_runs_that_do_not_add_up_are_refused(page: Playground, serve: Serve, counts: str) -> None:
    page.open(serve().url)
    refused = page.run(
        "try { decodeRle(arguments[0]); return '' } catch (error) { return error.title }",
        {"size": [5, 7], "counts": counts},
    )
    assert refused == "A mask could not be read"
