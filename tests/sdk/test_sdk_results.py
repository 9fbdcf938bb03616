"""Results: pictures, files, and the formats of other tools, read back by them where we can."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from PIL import Image
from pycocotools.coco import COCO

from scripted import ScriptedServer
from wise_client import InputError, Segmentation, UnexpectedAnswerError, coco, masks


@pytest.fixture
def two(pixels: np.ndarray, jpeg: bytes, server: ScriptedServer) -> Segmentation:
    """Two instances: the white rectangle, and a frame of one pixel's width around a hole."""
    document = server.answer(jpeg)
    frame = np.zeros((40, 60), np.uint8)
    frame[28:36, 40:50] = 255
    frame[29:35, 41:49] = 0
    out = io.BytesIO()
    Image.fromarray(frame).save(out, "PNG")
    document["instances"] += server.answer(out.getvalue())["instances"]
    document["instances"][1]["score"] = 0.5
    return Segmentation.from_dict(document, query="the cup", image=pixels)


def test_the_results_box_points_and_score_are_the_best_instances(two: Segmentation) -> None:
    assert two.box == two.instances[0].box
    assert two.score == 0.94
    assert two.mask.sum() == two.instances[0].mask.sum() + two.instances[1].mask.sum()


def test_an_answer_without_instances(jpeg: bytes, server: ScriptedServer) -> None:
    nothing = Segmentation.from_dict(server.answer(jpeg, "nothing"))
    assert (nothing.status, nothing.box, nothing.points, nothing.score) == (
        "no_target",
        None,
        (),
        None,
    )
    assert nothing.mask.shape == (40, 60)
    assert not nothing.mask.any()
    assert nothing.to_coco()["annotations"] == []
    assert nothing.to_polygons() == []


def test_coco_is_read_by_pycocotools(two: Segmentation, tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(two.to_coco("photo.jpg")))
    with contextlib.redirect_stdout(io.StringIO()):
        read = COCO(str(path))
    annotations: list[dict[str, Any]] = read.loadAnns(read.getAnnIds())
    for annotation, one in zip(annotations, two.instances, strict=True):
        assert np.array_equal(read.annToMask(annotation), one.mask)
        assert annotation["area"] == one.area
    assert annotations[1]["bbox"] == [40, 28, 10, 8]
    assert read.loadImgs(1)[0]["file_name"] == "photo.jpg"
    assert read.loadCats(1)[0]["name"] == "the cup"


def test_one_coco_document_of_many_results(two: Segmentation) -> None:
    document = coco([("a.jpg", two), ("b.jpg", two), ("a.jpg", two)])
    assert [one["file_name"] for one in document["images"]] == ["a.jpg", "b.jpg"]
    assert [one["image_id"] for one in document["annotations"]] == [1, 1, 2, 2, 1, 1]
    assert [one["id"] for one in document["annotations"]] == [1, 2, 3, 4, 5, 6]
    assert document["categories"] == [{"id": 1, "name": "the cup"}]


def test_polygons_and_geojson_keep_holes(two: Segmentation) -> None:
    (part,) = two.to_polygons()[1]
    assert len(part.holes) == 1
    document = json.loads(json.dumps(two.to_geojson()))
    geometry = document["features"][1]["geometry"]
    assert geometry["type"] == "MultiPolygon"
    ((exterior, hole),) = geometry["coordinates"]
    assert exterior[0] == exterior[-1]
    assert sorted(map(tuple, hole[:-1])) == [(41, 29), (41, 35), (49, 29), (49, 35)]


def test_labelme(two: Segmentation) -> None:
    document = json.loads(json.dumps(two.to_labelme("photo.jpg")))
    assert document["imagePath"] == "photo.jpg"
    assert (document["imageHeight"], document["imageWidth"]) == (40, 60)
    rectangle, *frame = document["shapes"]
    assert rectangle["shape_type"] == "polygon"
    assert sorted(rectangle["points"]) == [[10, 5], [10, 25], [30, 5], [30, 25]]
    assert rectangle["group_id"] == 0
    assert {one["group_id"] for one in frame} == {1}
    pieces = [shapely.Polygon(one["points"]) for one in frame]
    assert all(piece.is_valid for piece in pieces)
    assert shapely.union_all(pieces).area == two.instances[1].area  # the hole is left out


def test_geojson_of_a_part_that_touches_itself_is_valid(
    jpeg: bytes, server: ScriptedServer
) -> None:
    document = server.answer(jpeg)
    mask = np.zeros((40, 60), bool)
    mask[0, :4] = mask[:4, 0] = mask[3, :3] = mask[1:3, 3] = True
    document["instances"][0]["mask"] = masks.encode(mask)
    (feature,) = Segmentation.from_dict(document).to_geojson()["features"]
    geometry = shapely.geometry.shape(feature["geometry"])
    assert geometry.is_valid
    assert geometry.area == mask.sum()


def test_the_overlay_shows_masks_boxes_and_points(two: Segmentation, pixels: np.ndarray) -> None:
    drawn = np.asarray(two.overlay(opacity=1.0)).astype(int)
    assert drawn.shape == pixels.shape
    assert tuple(drawn[22, 27]) == (230, 159, 0)  # inside the first mask
    assert tuple(drawn[35, 49]) == (86, 180, 233)  # the second's border
    assert tuple(drawn[2, 55]) == (0, 0, 0)  # the image, untouched
    half = np.asarray(two.overlay(opacity=0.5)).astype(int)
    assert tuple(half[22, 27]) == (242, 207, 128)


def test_a_result_is_saved(two: Segmentation, tmp_path: Path) -> None:
    for name in ("o.png", "o.jpg", "o.webp"):
        with Image.open(two.save(tmp_path / name)) as picture:
            assert picture.size == (60, 40)
    again = Segmentation.from_dict(json.loads(two.save(tmp_path / "o.json").read_text()))
    assert np.array_equal(again.mask, two.mask)
    with Image.open(two.save_mask(tmp_path / "m.png")) as picture:
        assert np.array_equal(np.asarray(picture) == 255, two.mask)
    with pytest.raises(InputError, match=r"end in \.png"):
        two.save(tmp_path / "o.txt")


def test_a_notebook_shows_the_overlay_or_the_mask(two: Segmentation) -> None:
    with Image.open(io.BytesIO(two._repr_png_())) as shown:
        assert shown.mode == "RGB"
    without = Segmentation.from_dict(two.to_dict())
    with Image.open(io.BytesIO(without._repr_png_())) as shown:
        assert np.array_equal(np.asarray(shown) > 0, two.mask)
    with pytest.raises(InputError, match=r"overlay\(image\)"):
        without.overlay()
    with pytest.raises(InputError, match="the image is"):
        without.overlay(np.zeros((3, 3), np.uint8))


def test_a_mask_is_decoded_only_when_asked_for(jpeg: bytes, server: ScriptedServer) -> None:
    document = server.answer(jpeg)
    document["instances"][0]["mask"]["counts"] = "zzzzzz"
    result = Segmentation.from_dict(document)
    assert result.box == (10, 5, 30, 25)
    with pytest.raises(UnexpectedAnswerError):
        _ = result.mask


def test_every_repr_fits_a_line(two: Segmentation) -> None:
    for text in (repr(two), *map(repr, two.instances)):
        assert "\n" not in text
        assert len(text) < 100


def test_a_point_beside_the_object_is_drawn_as_a_ring(two: Segmentation) -> None:
    document = two.to_dict()
    document["instances"] = [document["instances"][0] | {"points": [[20, 15]], "labels": [0]}]
    for label, filled in ((1, False), (0, True)):
        document["instances"][0]["labels"] = [label]
        picture = Segmentation.from_dict(document).overlay(np.zeros((40, 60, 3), np.uint8))
        assert (picture.getpixel((20, 15)) == (255, 255, 255)) is filled
