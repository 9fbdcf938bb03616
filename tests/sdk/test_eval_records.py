"""Files as annotation tools and people write them: valid parts are used, or the error names the
file."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet
from pycocotools import mask as coco_mask

import eval_data as data
from command_line import Run
from wise_client.errors import InputError
from wise_client.eval import datasets
from wise_client.eval.coco import decode

SIZE = (data.WIDTH, data.HEIGHT)
SQUARE = [10, 5, 30, 5, 30, 25, 10, 25]  # 400 pixels
NAN = float("nan")


def packed(runs: list[int]) -> str:
    rle = {"size": [data.HEIGHT, data.WIDTH], "counts": runs}
    counts: bytes = coco_mask.frPyObjects(rle, data.HEIGHT, data.WIDTH)["counts"]
    return counts.decode()


@pytest.mark.parametrize(
    "segmentation",
    [[SQUARE], [SQUARE, [1, 1, 9, 9]], [[], SQUARE], [SQUARE, [3, 3]], SQUARE],
    ids=["one", "beside two points", "beside none", "beside a point", "without its list"],
)
def test_polygons_that_enclose_nothing_do_not_spoil_the_others(segmentation: Any) -> None:
    assert decode(segmentation, SIZE).sum() == 400


@pytest.mark.parametrize(
    "segmentation",
    [
        [[1, 1, 20, 20]],  # pycocotools would read four numbers as a box
        [[]],
        [SQUARE, [NAN, 1, 9, 1, 9, 9]],
        [[*SQUARE, 7]],
        [[float("inf"), *SQUARE[1:]]],
        [[1e12, *SQUARE[1:]]],
        [["10", "a", 3, 3, 4, 4]],
        [None],
        None,
        "none",
        7,
        {"size": [data.HEIGHT, data.WIDTH]},
        {"counts": [2400]},
        {"size": [data.HEIGHT, data.WIDTH], "counts": [100, 50]},
        {"size": [data.HEIGHT, data.WIDTH], "counts": [100, 50, 99999]},
        {"size": [data.HEIGHT, data.WIDTH], "counts": [100, -50, 2350]},
        {"size": [data.HEIGHT, data.WIDTH], "counts": [100.5, 50, 2249.5]},
        {"size": [data.HEIGHT, data.WIDTH], "counts": [NAN]},
        {"size": [data.HEIGHT, data.WIDTH], "counts": packed([100, 50])},
        {"size": [data.HEIGHT, data.WIDTH], "counts": packed([100, 50, 99999])},
        {"size": [data.HEIGHT, data.WIDTH], "counts": "größer"},
        {"size": [data.HEIGHT, data.WIDTH], "counts": "!!"},
        {"size": [data.HEIGHT, data.WIDTH], "counts": None},
        {"size": [data.WIDTH, data.HEIGHT], "counts": [2400]},
        {"size": [10**9, 10**9], "counts": [10**18]},
        {"size": None, "counts": [2400]},
    ],
    ids=repr,
)
def test_segmentations_without_a_clear_meaning_are_refused(segmentation: Any) -> None:
    with pytest.raises(InputError):
        decode(segmentation, SIZE)


def test_an_empty_segmentation_means_nothing() -> None:
    assert not decode([], SIZE).any()


@pytest.mark.parametrize("reader", ["coco", "refcoco"])
def test_polygons_drawn_for_another_size_are_refused(tmp_path: Path, reader: str) -> None:
    document = data.instances(query="the cup")
    path = tmp_path / "coco.json" if reader == "coco" else data.refcoco(tmp_path / "refcoco")
    target = path if reader == "coco" else path / "instances.json"
    document["images"][0] |= {"width": data.HEIGHT, "height": data.WIDTH}
    target.write_text(json.dumps(document))
    sample = next(iter(datasets.read(path)))
    with pytest.raises(InputError, match="annotated at 40 x 60, the image is 60 x 40"):
        sample.truth(SIZE)
    for width, height in ((None, 0), (str(data.WIDTH), str(data.HEIGHT))):
        document["images"][0] |= {"width": width, "height": height}
        target.write_text(json.dumps(document))
        assert next(iter(datasets.read(path))).truth(SIZE).mask.sum() == 400


def test_a_coco_annotation_of_no_image_is_named(tmp_path: Path) -> None:
    document = data.instances(query="the cup")
    document["annotations"][0]["image_id"] = 99
    (tmp_path / "coco.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"coco\.json: annotation 7 is of an unknown image, 99"):
        datasets.read(tmp_path / "coco.json")


def test_an_error_names_file_and_annotation(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(data.instances(query="q", segmentation=[[1, 1, 9, 9]])))
    with pytest.raises(InputError, match=r"coco\.json: annotation 7 of image 3: its segmentation"):
        next(iter(datasets.read(path))).truth(SIZE)


@pytest.mark.parametrize("query", ["", " ", None, 7])
def test_a_coco_query_that_asks_nothing_is_refused(tmp_path: Path, query: Any) -> None:
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(data.instances(query=query)))
    with pytest.raises(InputError, match="the query of annotation 7 is empty"):
        datasets.read(path)


def test_windows_separators_in_file_names(tmp_path: Path) -> None:
    (tmp_path / "images" / "train").mkdir(parents=True)
    data.bright().save(tmp_path / "images" / "train" / "a.jpg")
    document = data.instances(query="q")
    document["images"][0]["file_name"] = "train\\a.jpg"
    (tmp_path / "coco.json").write_text(json.dumps(document))
    image = next(iter(datasets.read(tmp_path / "coco.json"))).image
    assert image == tmp_path / "images" / "train" / "a.jpg"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_are_no_text(tmp_path: Path, encoding: str) -> None:
    document = data.reasonseg(tmp_path / "reasonseg", "a", [data.shape("target", data.CORNERS)])
    document.write_text(document.read_text(), encoding)
    text = data.plain(tmp_path / "folder", [None]) / "000.txt"
    text.write_text("größer", encoding)
    coco = tmp_path / "coco.json"
    coco.write_text(json.dumps(data.instances(query="it")), encoding)
    read = [next(iter(datasets.read(one))).query for one in (document.parent, text.parent, coco)]
    assert read == ["it", "größer", "it"]


@pytest.mark.parametrize(("text", "query"), [("the lid", "the lid"), (["a", "b"], "a")])
def test_reasonseg_text_is_one_question_or_a_list(tmp_path: Path, text: Any, query: str) -> None:
    path = data.reasonseg(tmp_path, "a", [])
    path.write_text(json.dumps({"text": text, "shapes": []}))
    assert next(iter(datasets.read(tmp_path))).query == query


@pytest.mark.parametrize("text", ["", [""], [], [None], None, 7])
def test_reasonseg_text_that_asks_nothing_is_refused(tmp_path: Path, text: Any) -> None:
    path = data.reasonseg(tmp_path, "a", [])
    path.write_text(json.dumps({"text": text, "shapes": []}))
    with pytest.raises(InputError, match=r"a\.json is not of ReasonSeg"):
        datasets.read(tmp_path)


def test_extensions_count_in_any_case_and_hidden_files_not_at_all(tmp_path: Path) -> None:
    path = data.reasonseg(tmp_path / "reasonseg", "a", [])
    path.with_suffix(".jpg").rename(path.with_suffix(".JPG"))
    path.rename(path.with_suffix(".Json"))
    folder = data.plain(tmp_path / "folder", [None])
    for name in ("000.png", "000.mask.png", "000.txt"):
        (folder / name).rename(folder / (name[:3] + name[3:].upper()))
    for hidden in (path.parent / "._a.jpg", path.parent / "._a.json", folder / "._000.txt"):
        hidden.write_bytes(b"\x00\x05\x16\x07" + b"\xb0" * 40)
    assert [one.name for one in datasets.read(path.parent)] == ["a"]
    (sample,) = datasets.read(folder)
    assert (sample.name, sample.truth(SIZE).mask.sum()) == ("000", 400)


def test_one_bad_record_is_reported_and_counted(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for name in "abcd":
        data.reasonseg(folder, name, [data.shape("target", data.CORNERS)])
    data.reasonseg(folder, "b", [data.shape("target", [[NAN, 1], [9, 1], [9, 9]])])
    (folder / "c.jpg").write_bytes(b"no image")
    code, _, err = run("eval", "set", "--json", "r.json", "--html", "r.html", "--concurrency", "1")
    assert code == 7
    (figures,) = json.loads((tmp_path / "r.json").read_text())["strategies"]
    assert (figures["answered"], figures["failed"], figures["giou"]) == (2, 2, 1.0)
    assert [one["name"] for one in figures["failures"]] == ["b", "c"]
    assert "b.json: shapes[0] is a polygon that cannot be read" in err


def test_an_unforeseen_mistake_in_a_truth_is_a_failure_of_its_record(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.plain(tmp_path / "set", [None, None])
    monkeypatch.setattr("wise_client.eval.folder.fitting", lambda *_: 1 // 0)
    assert run("eval", "set", "--json", "r.json")[0] == 7
    (figures,) = json.loads((tmp_path / "r.json").read_text())["strategies"]
    assert figures["failed"] == 2
    assert "its truth cannot be read (ZeroDivisionError" in figures["failures"][0]["detail"]


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("text", None, "the text of 12/0 is empty"),
        ("text", " ", "the text of 12/0 is empty"),
        ("img_width", None, "row 0, 12/0, is not read"),
        ("image", {"bytes": None, "path": None}, "neither bytes nor a path"),
        ("mask", None, "the mask of 12/0 is not read"),
        ("mask", [[True]], "the mask of 12/0 is not read"),
    ],
)
def test_a_bad_row_of_parquet_is_reported_and_counted(
    run: Run, tmp_path: Path, column: str, value: Any, says: str
) -> None:
    out = io.BytesIO()
    data.bright().save(out, "PNG")
    row = {
        "image": {"bytes": out.getvalue(), "path": None},
        "text": "the cup",
        "mask": data.rectangle().tolist(),
        "image_id": "12",
        "ann_id": "0",
        "img_height": data.HEIGHT,
        "img_width": data.WIDTH,
    }
    bad = row | {column: value}
    rows = {name: [bad[name], row[name], row[name]] for name in row}
    parquet.write_table(pyarrow.table(rows), tmp_path / "test.parquet")
    assert run("eval", "test.parquet", "--json", "r.json")[0] == 7
    (figures,) = json.loads((tmp_path / "r.json").read_text())["strategies"]
    assert (figures["answered"], figures["failed"], figures["giou"]) == (2, 1, 1.0)
    assert says in figures["failures"][0]["detail"]
