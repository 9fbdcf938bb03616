"""LabelMe's shapes by their own meaning, and masks that are pictures."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import eval_data as data
from wise_client.errors import InputError
from wise_client.eval import datasets
from wise_client.eval.reasonseg import paint
from wise_client.eval.samples import mask_of

SIZE = (data.WIDTH, data.HEIGHT)
NAN = float("nan")


def png(mask: np.ndarray) -> str:
    out = io.BytesIO()
    Image.fromarray(mask).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


@pytest.mark.parametrize(
    ("kind", "points", "pixels"),
    [
        ("polygon", data.CORNERS, 400),
        (None, data.CORNERS, 400),
        ("rectangle", [[10, 5], [29, 24]], 400),
        ("rectangle", [[29, 24], [10, 5]], 400),
        ("rectangle", data.CORNERS, 400),
        ("oriented_rectangle", data.CORNERS, 400),
        ("circle", [[20, 20], [20, 25]], 81),
        ("mask", [[10, 5], [12, 7]], 5),
    ],
)
def test_labelme_shapes_cover_what_their_type_says(kind: Any, points: Any, pixels: int) -> None:
    part = np.array([[255, 0, 255], [0, 255, 0], [255, 0, 255]], np.uint8)
    shape = data.shape("target", points) | {"shape_type": kind, "mask": png(part)}
    mask = paint([shape], SIZE).mask
    assert mask.sum() == pixels
    if kind == "mask":
        assert np.array_equal(mask[5:8, 10:13], part > 0)


@pytest.mark.parametrize("kind", ["line", "linestrip", "point", "points", "spline", 7])
def test_labelme_shapes_without_area_are_refused(kind: Any) -> None:
    shape = data.shape("target", data.CORNERS) | {"shape_type": kind}
    with pytest.raises(InputError, match=r"shapes\[0\] is shape_type .* no area"):
        paint([shape], SIZE)


@pytest.mark.parametrize(
    "shape",
    [
        {"points": [[NAN, 1], [9, 1], [9, 9]]},
        {"points": [[1, 2, 3], [9, 1, 3], [9, 9, 3]]},
        {"points": None},
        {"shape_type": "rectangle", "points": [[1, 1]]},
        {"shape_type": "circle", "points": [[1, 1], [2, 2], [3, 3]]},
        {"shape_type": "mask", "points": [[1, 1], [2, 2]]},
        {"shape_type": "mask", "points": [[1, 1], [2, 2]], "mask": "no base64!"},
        {"shape_type": "mask", "points": [[59, 1]], "mask": png(np.ones((3, 3), np.uint8))},
        {"shape_type": "mask", "points": [], "mask": png(np.ones((3, 3), np.uint8))},
    ],
    ids=repr,
)
def test_labelme_shapes_that_cannot_be_read_are_named(shape: dict[str, Any]) -> None:
    good = data.shape("target", data.CORNERS)
    with pytest.raises(InputError, match=r"shapes\[1\] is a \w+ that cannot be read"):
        paint([good, good | shape], SIZE)


def test_a_labelme_line_drawn_as_a_polygon_counts_only_beside_others() -> None:
    line = data.shape("target", [[1, 1], [50, 30]])
    assert paint([data.shape("target", data.CORNERS), line], SIZE).mask.sum() == 400
    with pytest.raises(InputError, match=r"shapes\[0\] is a polygon of fewer than three"):
        paint([line], SIZE)
    with pytest.raises(InputError, match=r"shapes\[1\] is a polygon of fewer than three"):
        paint([data.shape("target", data.CORNERS), line | {"label": "ignore"}], SIZE)


def test_labelme_documents_of_another_size_are_refused(tmp_path: Path) -> None:
    path = data.reasonseg(tmp_path, "a", [data.shape("target", data.CORNERS)])
    document = json.loads(path.read_text()) | {"imageWidth": 40, "imageHeight": 60}
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"a\.json is annotated at 40 x 60"):
        next(iter(datasets.read(tmp_path))).truth(SIZE)


def masked(mode: str, colour: Any, alpha: np.ndarray) -> Image.Image:
    picture = Image.new("RGB" if mode == "RGBA" else "L", SIZE, colour).convert(mode)
    picture.putalpha(Image.fromarray(alpha.astype(np.uint8) * 255))
    return picture


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_masks_whose_shape_is_in_the_alpha_channel_are_refused(mode: str) -> None:
    for colour in (0, 255):
        value = (colour, colour, colour) if mode == "RGBA" else colour
        with pytest.raises(InputError, match="save the mask without an alpha channel"):
            mask_of(masked(mode, value, data.rectangle()))
    opaque = masked(mode, (255, 0, 0) if mode == "RGBA" else 9, np.ones((40, 60), bool))
    assert mask_of(opaque).all()


def test_masks_whose_transparency_is_their_shape_are_used() -> None:
    palette = Image.fromarray(data.rectangle().astype(np.uint8)).convert("P")
    palette.info["transparency"] = 0
    assert np.array_equal(mask_of(palette), data.rectangle())
    colours = data.bright().convert("RGBA")
    colours.putalpha(Image.fromarray(data.rectangle().astype(np.uint8) * 255))
    assert np.array_equal(mask_of(colours), data.rectangle())


def test_a_mask_of_dark_colours_is_a_mask() -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[data.rectangle(), 2] = 1  # as grey it would be 0
    assert np.array_equal(mask_of(Image.fromarray(pixels)), data.rectangle())
