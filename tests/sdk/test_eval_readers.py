"""The readers, tested on small files in the published formats."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

import eval_data as data
from wise_client.errors import InputError
from wise_client.eval import datasets
from wise_client.eval.reasonseg import paint
from wise_client.eval.samples import Dataset
from wise_client.eval.shapes import fill_polygon

SIZE = (data.WIDTH, data.HEIGHT)
INNER = [[15, 10], [19, 10], [19, 14], [15, 14]]  # 25 pixels


def only(dataset: Dataset) -> Any:
    (sample,) = list(dataset)
    return sample


def test_a_polygon_may_leave_the_image() -> None:
    mask = fill_polygon([(-20, -20), (200, -20), (200, 200), (-20, 200)], SIZE)
    assert mask.all()


def test_reasonseg(tmp_path: Path) -> None:
    data.reasonseg(tmp_path / "val", "b", [data.shape("target", data.CORNERS)], "größer?")
    data.reasonseg(tmp_path / "val", "a", [data.shape("target", data.CORNERS)])
    dataset = datasets.read(tmp_path, split="val")
    assert (dataset.format, len(dataset)) == ("reasonseg", 2)
    assert [(one.name, one.query) for one in dataset] == [("a", "it"), ("b", "größer?")]
    truth = next(iter(dataset)).truth(SIZE)
    assert np.array_equal(truth.mask, data.rectangle())
    assert truth.ignore is None
    assert len(dataset.limited(1)) == len(list(dataset.limited(1))) == 1


@pytest.mark.parametrize("label", ["ignore", "ignored", "Ignore_region"])
@pytest.mark.parametrize("first", [True, False])
def test_small_ignored_regions_lie_on_top_of_large_targets(label: str, first: bool) -> None:
    shapes = [
        data.shape("target", data.CORNERS),
        data.shape(label, INNER),
        data.shape("flag", [[0, 0], [59, 39]]),
    ]
    truth = paint(shapes[:: 1 if first else -1], SIZE)
    assert truth.ignore is not None
    assert truth.ignore.sum() == 25
    assert truth.mask.sum() == 400 - 25
    assert not (truth.mask & truth.ignore).any()


def test_a_small_target_lies_on_top_of_a_large_ignored_region() -> None:
    truth = paint([data.shape("target", INNER), data.shape("ignore", data.CORNERS)], SIZE)
    assert truth.mask.sum() == 25
    assert truth.ignore is not None
    assert truth.ignore.sum() == 400 - 25


def test_reasonseg_in_windows_1252(tmp_path: Path) -> None:
    path = data.reasonseg(tmp_path, "a", [data.shape("target", data.CORNERS)])
    document = {"text": ["the driver’s seat"], "shapes": []}
    path.write_bytes(json.dumps(document, ensure_ascii=False).encode("cp1252"))
    sample = only(datasets.read(tmp_path))
    assert sample.query == "the driver’s seat"
    assert not sample.truth(SIZE).mask.any()


def test_reasonseg_of_another_form(tmp_path: Path) -> None:
    path = data.reasonseg(tmp_path, "a", [])
    path.write_text('{"text": []}')
    with pytest.raises(InputError, match=r"a\.json is not of ReasonSeg"):
        datasets.read(tmp_path)


def test_coco_with_queries(tmp_path: Path) -> None:
    document = data.instances(query="the cup")
    other = dict(document["annotations"][0], id=8, segmentation=[[40, 5, 50, 5, 50, 15, 40, 15]])
    nothing = dict(document["annotations"][0], id=9, segmentation=[], query="the dog")
    document["annotations"] += [other, nothing]
    (tmp_path / "images").mkdir()
    data.bright().save(tmp_path / "images" / "COCO_3.jpg")
    path = tmp_path / "queries.json"
    path.write_text(json.dumps(document))
    both, absent = list(datasets.read(path))
    assert (both.query, both.truth(SIZE).mask.sum()) == ("the cup", 400 + 100)
    assert (absent.query, absent.truth(SIZE).mask.sum()) == ("the dog", 0)
    assert both.image == tmp_path / "images" / "COCO_3.jpg"
    assert next(iter(datasets.read(path, images=tmp_path))).image == tmp_path / "COCO_3.jpg"


@pytest.mark.parametrize("compressed", [True, False])
def test_coco_rle(tmp_path: Path, compressed: bool) -> None:
    columns = np.asfortranarray(data.rectangle().astype(np.uint8))
    if compressed:
        rle = coco_mask.encode(columns)
        rle["counts"] = rle["counts"].decode()
    else:
        flat = columns.ravel(order="F")
        edges = np.flatnonzero(np.diff(np.concatenate([[0], flat]))).tolist()
        runs = np.diff([0, *edges, flat.size]).tolist()
        rle = {"size": [data.HEIGHT, data.WIDTH], "counts": runs}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(data.instances(query="q", segmentation=rle)))
    sample = only(datasets.read(path))
    assert np.array_equal(sample.truth(SIZE).mask, data.rectangle())
    with pytest.raises(InputError, match="image 3 is annotated at 60 x 40"):
        sample.truth((61, 40))


def test_coco_without_queries(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(data.instances()))
    with pytest.raises(InputError, match='should hold "image_id", "segmentation" and "query"'):
        datasets.read(path)


def test_a_plain_folder(tmp_path: Path) -> None:
    data.plain(tmp_path, [None, np.zeros((40, 60), bool)])
    data.bright().save(tmp_path / "z.jpg")
    data.bright().convert("1").save(tmp_path / "z.png")  # beside a JPEG, the mask
    (tmp_path / "z.txt").write_text("größer")
    first, second, third = list(datasets.read(tmp_path))
    assert (first.query, first.truth(SIZE).mask.sum()) == ("the cup 0", 400)
    assert first.image == tmp_path / "000.png"
    assert second.truth(SIZE).mask.sum() == 0
    assert (third.query, third.image) == ("größer", tmp_path / "z.jpg")
    assert third.truth(SIZE).mask.sum() == 400


def test_a_missing_file_in_a_plain_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the cup")
    with pytest.raises(InputError, match=r"a\.txt has no image beside it"):
        datasets.read(tmp_path)
    data.bright().save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"no mask beside it: a\.mask\.png"):
        datasets.read(tmp_path)
    (tmp_path / "a.txt").write_text(" ")
    with pytest.raises(InputError, match=r"a\.txt is empty"):
        datasets.read(tmp_path)


def test_a_path_that_is_not_a_dataset_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no known format"):
        datasets.read(tmp_path)
    with pytest.raises(InputError, match="There is no file or folder"):
        datasets.read(tmp_path / "no")
    data.reasonseg(tmp_path / "val", "a", [])
    with pytest.raises(InputError, match="give --split, one of: val"):
        datasets.read(tmp_path)
    (tmp_path / "a.tar").touch()
    with pytest.raises(InputError, match="give --format: reasonseg, parquet"):
        datasets.read(tmp_path / "a.tar")
    with pytest.raises(InputError, match="--images does not apply"):
        datasets.read(tmp_path, split="val", images=tmp_path)
