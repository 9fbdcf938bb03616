"""The inputs of `wise-segment batch`: which pairs each has, in which order, and what it refuses."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bulk_data
from bulk_data import content_of, png
from entries import CUP, seen, told
from wise_client import InputError
from wise_client.sources.entries import Asked
from wise_client.sources.inputs import How, Inputs, read
from wise_client.sources.parquet import Columns


def test_a_folder_gives_its_images_by_name_then_those_of_its_subfolders(tmp_path: Path) -> None:
    bulk_data.folder(tmp_path / "photos", 2)
    bulk_data.folder(tmp_path / "photos" / "a", 1)
    bulk_data.folder(tmp_path / "photos" / ".hidden", 1)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    assert seen(tmp_path / "photos", CUP) == [
        ("0000.png", "the cup", "cup", 0),
        ("0001.png", "the cup", "cup", 1),
        ("a/0000.png", "the cup", "cup", 0),
    ]


def test_several_queries_are_asked_of_every_image(tmp_path: Path) -> None:
    bulk_data.folder(tmp_path / "photos", 2)
    both = Asked((("a", ""), ("b", "")))
    assert [one[:2] for one in seen(tmp_path / "photos", both)] == [
        ("0000.png", "a"),
        ("0000.png", "b"),
        ("0001.png", "a"),
        ("0001.png", "b"),
    ]


def test_pairs_keep_their_own_queries_and_take_the_default(tmp_path: Path) -> None:
    bulk_data.folder(tmp_path / "photos", 2)
    lines = [
        {"image": "photos/0000.png", "query": "own", "label": "thing"},
        {"image": "photos/0001.png"},
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(json.dumps(one) for one in lines))
    assert seen(tmp_path / "pairs.jsonl", CUP) == [
        ("photos/0000.png", "own", "thing", 0),
        ("photos/0001.png", "the cup", "cup", 1),
    ]


def coco_document(**changed: Any) -> dict[str, Any]:
    images = [{"id": 7, "file_name": "0000.png"}, {"id": 8, "file_name": "0001.png"}]
    annotations: list[dict[str, Any]] = [
        {"image_id": 7, "category_id": 1},
        {"image_id": 7, "category_id": 1},
        {"image_id": 8, "category_id": 1, "query": "the largest cup"},
        {"image_id": 9, "category_id": 1},
    ]
    categories = [{"id": 1, "name": "cup"}]
    return {"images": images, "annotations": annotations, "categories": categories} | changed


def test_coco_asks_by_query_or_category_each_once(tmp_path: Path) -> None:
    bulk_data.folder(tmp_path / "images", 2)
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(coco_document()))
    missing = f"{path} has no image with the id 9"
    assert seen(path) == [
        ("0000.png", "cup", "cup", 0),
        ("0001.png", "the largest cup", "cup", 1),
        (f"{path}:9", "cup", "cup", missing),
    ]
    assert [one[:2] for one in seen(path, CUP)] == [
        ("0000.png", "the cup"),
        ("0001.png", "the cup"),
    ]


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "is not a COCO file"),
        ({}, "is not a COCO file"),
        (coco_document(annotations=[]), "--query"),
    ],
)
def test_a_file_that_is_not_coco_is_reported(tmp_path: Path, document: Any, says: str) -> None:
    (tmp_path / "x.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=says):
        told(tmp_path / "x.json")


Made = Callable[[int], Any]


@pytest.mark.parametrize(
    "image",
    [
        png,
        lambda n: {"bytes": png(n), "path": "x"},
        lambda n: {"bytes": None, "path": f"{n:04}.png"},
    ],
    ids=["bytes", "hugging-face", "path"],
)
def test_parquet_in_its_three_forms(tmp_path: Path, image: Made) -> None:
    count = 20
    bulk_data.folder(tmp_path / "root", count)
    columns = {"image": [image(n) for n in range(count)], "text": [f"q{n}" for n in range(count)]}
    path = bulk_data.parquet(tmp_path / "x.parquet", columns)
    assert seen(path, root=tmp_path / "root") == [(f"x/{n}", f"q{n}", "", n) for n in range(count)]


def test_parquet_with_columns_of_other_names(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {
        "picture": [png(0), png(1)],
        "id": ["a.png", "b.png"],
        "kind": ["cup", None],
    }
    path = bulk_data.parquet(tmp_path / "x.parquet", {**columns, "query": ["p", "q"]})
    named = Columns("picture", "query", "kind", "id")
    assert seen(path, columns=named) == [("a.png", "p", "cup", 0), ("b.png", "q", "", 1)]
    only = Columns("picture")
    assert [one[1:] for one in seen(path, CUP, columns=only)] == [
        ("the cup", "cup", 0),
        ("the cup", "cup", 1),
    ]


def test_parquet_images_are_read_only_where_they_are_asked_for(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {"image": [png(n) for n in range(30)], "query": ["q"] * 30}
    path = bulk_data.parquet(tmp_path / "x.parquet", columns, rows_per_group=20)
    with read([str(path)], How(Asked()), io.BytesIO()) as inputs:
        found = [content_of(one) for i, one in enumerate(inputs.entries()) if i in (3, 17, 18, 29)]
    assert found == [png(n) for n in (3, 17, 18, 29)]


def test_parquet_rows_that_cannot_be_asked_are_entries_all_the_same(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {"image": [None, b"", png(2)], "query": ["q", "q", None]}
    path = bulk_data.parquet(tmp_path / "x.parquet", columns)
    assert [one[3] for one in seen(path)] == [
        f"{path}:0 has no image: neither bytes nor a path",
        f"{path}:1 has no image: neither bytes nor a path",
        f"{path}:2 has no query",
    ]


def test_a_file_that_is_not_parquet_or_lacks_a_column_is_reported(tmp_path: Path) -> None:
    path = bulk_data.parquet(tmp_path / "x.parquet", {"image": [png(0)], "caption": ["q"]})
    with pytest.raises(InputError, match="no column query or text; it has image, caption"):
        told(path)
    with pytest.raises(InputError, match="no column picture"):
        told(path, CUP, columns=Columns("picture"))
    (tmp_path / "y.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        told(tmp_path / "y.parquet")
    with pytest.raises(InputError, match="no file"):
        told(tmp_path / "z.parquet")


def test_inputs_of_several_kinds_follow_one_another(tmp_path: Path) -> None:
    photos = bulk_data.folder(tmp_path / "photos", 1)
    tar = bulk_data.tar(tmp_path / "x.tar", bulk_data.samples(range(1, 3)))
    parquet = bulk_data.parquet(tmp_path / "x.parquet", {"image": [png(3)]})
    found = seen([tar, photos, parquet, tar], CUP)
    assert [one[3] for one in found] == [1, 2, 0, 3, 1, 2]


def test_a_folder_gives_the_files_of_parquet_folders_once_and_no_hidden_ones(
    tmp_path: Path,
) -> None:
    made = tmp_path / "data" / "train.parquet"
    for name in ("", "_temporary", ".hidden"):
        (made / name).mkdir(parents=True)
        bulk_data.parquet(made / name / "part-0.snappy.parquet", {"image": [png(0)]})
    assert [one[3] for one in seen(tmp_path / "data", CUP)] == [0]


def test_a_missing_input_is_reported(tmp_path: Path) -> None:
    for name in ("no.jsonl", "no.tar", "no.parquet", "no.json"):
        with pytest.raises(InputError, match="no"):
            told(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no image in"):
        told(tmp_path / "empty", CUP)


def test_ten_million_parquet_files_are_counted_once() -> None:
    class Counting:
        calls = 0

        def count(self) -> int:
            self.calls += 1
            return 5

        def entries(self) -> Any:
            return iter(())

    source = Counting()
    inputs = Inputs([source])
    assert [inputs.count() for _ in range(100)] == [5] * 100
    assert source.calls == 1
