"""Readers on small files of the published formats."""

import io
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import cv2
import eval_data as data
import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from pycocotools import mask as coco_mask

from wise_client.errors import InputError
from wise_client.eval import datasets, refcoco
from wise_client.eval.fill import fill_polygon
from wise_client.eval.reasonseg import paint
from wise_client.eval.samples import Dataset

SIZE = (data.WIDTH, data.HEIGHT)
INNER = [[15, 10], [19, 10], [19, 14], [15, 14]]  # 25 pixels


def only(dataset: Dataset) -> Any:
    (sample,) = list(dataset)
    return sample


corner = st.tuples(st.floats(0, 59.9), st.floats(0, 39.9))


@settings(max_examples=80, deadline=None)
@given(st.lists(corner, min_size=1, max_size=12))
def test_polygons_are_filled_as_opencv_fills_them(corners: list[tuple[float, float]]) -> None:
    expected = np.zeros((data.HEIGHT, data.WIDTH), np.uint8)
    points = np.array([corners], dtype=np.int32)
    cv2.polylines(expected, points, True, 1, 1)
    cv2.fillPoly(expected, points, 1)
    assert np.array_equal(fill_polygon(corners, SIZE), expected.astype(bool))


def test_a_polygon_may_leave_the_image() -> None:
    mask = fill_polygon([[-20, -20], [200, -20], [200, 200], [-20, 200]], SIZE)
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
    shapes = [("target", data.CORNERS), (label.lower(), INNER), ("flag", [[0, 0], [59, 39]])]
    truth = paint(shapes[:: 1 if first else -1], SIZE)
    assert truth.ignore is not None
    assert truth.ignore.sum() == 25
    assert truth.mask.sum() == 400 - 25
    assert not (truth.mask & truth.ignore).any()


def test_a_small_target_lies_on_top_of_a_large_ignored_region() -> None:
    truth = paint([("target", INNER), ("ignore", data.CORNERS)], SIZE)
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


def parquet_rows(mask: Any) -> dict[str, list[Any]]:
    out = io.BytesIO()
    data.bright().save(out, "PNG")
    return {
        "image": [{"bytes": out.getvalue(), "path": None}] * 2,
        "text": ["the cup", "the box."],
        "mask": [mask, mask],
        "image_id": ["12", "13"],
        "ann_id": ["0", "1"],
        "img_height": [data.HEIGHT] * 2,
        "img_width": [data.WIDTH] * 2,
    }


def write_parquet(path: Path, rows: dict[str, list[Any]]) -> None:
    parquet.write_table(pyarrow.table(rows), path)


@pytest.mark.parametrize("as_numbers", [False, True])
def test_parquet_as_on_the_hub(tmp_path: Path, as_numbers: bool) -> None:
    (tmp_path / "data").mkdir()
    mask = data.rectangle().astype(int if as_numbers else bool).tolist()
    for part in range(3):
        write_parquet(tmp_path / "data" / f"test-0000{part}-of-00003.parquet", parquet_rows(mask))
    dataset = datasets.read(tmp_path, split="test")
    assert (dataset.format, len(dataset)) == ("parquet", 6)
    for _ in range(2):  # once a strategy
        samples = list(dataset)
        assert [one.name for one in samples] == ["12/0", "13/1"] * 3
        assert [one.query for one in samples[:2]] == ["the cup", "the box."]
        assert np.array_equal(samples[5].truth(SIZE).mask, data.rectangle())
    with pytest.raises(InputError, match="its truth is 60 x 40, its image 40 x 60"):
        samples[0].truth((40, 60))
    with pytest.raises(InputError, match="no parquet file of val"):
        datasets.read(tmp_path, "parquet", "val")


def test_parquet_with_encoded_masks(tmp_path: Path) -> None:
    out = io.BytesIO()
    data.bright().convert("L").save(out, "PNG")
    rows = parquet_rows({"bytes": out.getvalue(), "path": "m.png"})
    write_parquet(tmp_path / "a.parquet", rows)
    samples = list(datasets.read(tmp_path / "a.parquet"))
    assert np.array_equal(samples[1].truth(SIZE).mask, data.rectangle())


def test_parquet_of_another_form(tmp_path: Path) -> None:
    rows = parquet_rows(data.rectangle().tolist())
    del rows["text"]
    write_parquet(tmp_path / "a.parquet", rows)
    with pytest.raises(InputError, match="has no column text"):
        datasets.read(tmp_path)
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(InputError, match="is not read as parquet"):
        datasets.read(tmp_path)


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InputError, match=r"pip install 'wise-client\[eval\]'"):
        datasets.read(tmp_path)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_refcoco(tmp_path: Path, protocol: int) -> None:
    folder = data.refcoco(tmp_path / "refcoco", pickle.dumps(data.refs(), protocol))
    dataset = datasets.read(folder, split="val")
    assert (dataset.format, len(dataset)) == ("refcoco", 2)
    samples = list(dataset)
    assert [one.query for one in samples] == ["white box", "the bright one"]
    assert samples[0].image == tmp_path / "images/mscoco/images/train2014/COCO_3.jpg"
    assert np.array_equal(samples[1].truth(SIZE).mask, data.rectangle())
    assert len(datasets.read(folder)) == 4
    assert len(datasets.read(folder, split="test")) == 1
    with pytest.raises(InputError, match="the splits testA, train, val; no testB"):
        datasets.read(folder, split="testB")


def test_refcoco_of_python_2(tmp_path: Path) -> None:
    """Python 2 wrote str as bytes: opcode U, a length, and the bytes."""
    content = pickle.dumps(data.refs(), 2)
    old = b"X\x03\x00\x00\x00val"  # unicode, as Python 3 writes it
    assert old in content
    folder = data.refcoco(tmp_path / "refcoco", content.replace(old, b"U\x03val"))
    assert len(datasets.read(folder, split="val")) == 2


def test_refcoco_as_json(tmp_path: Path) -> None:
    folder = data.refcoco(tmp_path / "refcoco")
    (folder / "refs(unc).p").unlink()
    (folder / "refs(unc).json").write_text(json.dumps(data.refs()))
    assert len(datasets.read(folder, split="val")) == 2


class _Attack:
    def __init__(self, where: Path) -> None:
        self.where = where

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.where,))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "was-run"
    content = pickle.dumps([_Attack(mark)], protocol)
    folder = data.refcoco(tmp_path / "refcoco", content)
    with pytest.raises(InputError, match="which refs do not need"):
        datasets.read(folder)
    assert not mark.exists()
    pickle.loads(content)
    assert mark.exists()  # it was a real attack


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps({"a": 1}), pickle.dumps([1])])
def test_refs_of_another_form(tmp_path: Path, content: bytes) -> None:
    folder = data.refcoco(tmp_path / "refcoco", content)
    with pytest.raises(InputError, match="refs"):
        datasets.read(folder)


def test_the_refs_file_is_named_when_there_are_two(tmp_path: Path) -> None:
    folder = data.refcoco(tmp_path / "refcocog")
    (folder / "refs(google).p").write_bytes(pickle.dumps(data.refs()[:1]))
    with pytest.raises(InputError, match="name one of them"):
        datasets.read(folder)
    assert len(datasets.read(folder / "refs(google).p")) == 2
    assert refcoco.in_split("testB", "test")


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
    with pytest.raises(InputError, match=r"image 3: .* its truth is 60 x 40"):
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


def test_what_a_plain_folder_lacks(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the cup")
    with pytest.raises(InputError, match=r"a\.txt has no image beside it"):
        datasets.read(tmp_path)
    data.bright().save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"no mask beside it: a\.mask\.png"):
        datasets.read(tmp_path)
    (tmp_path / "a.txt").write_text(" ")
    with pytest.raises(InputError, match=r"a\.txt is empty"):
        datasets.read(tmp_path)


def test_what_is_no_dataset(tmp_path: Path) -> None:
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
