"""The inputs of `wise-segment batch`: what each gives, in which order, and what it refuses."""

import gc
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bulk_data
from bulk_data import content_of, png
from wise_client import InputError
from wise_client.sources import tars
from wise_client.sources.entries import Asked, Entry
from wise_client.sources.inputs import How, Inputs, read
from wise_client.sources.parquet import Columns

OWN = Asked()
CUP = Asked((("the cup", "cup"),))


def told(path: Path | list[Path], asked: Asked = OWN, **how: Any) -> list[Entry]:
    """The entries, without their images."""
    names = [str(one) for one in ([path] if isinstance(path, Path) else path)]
    with read(names, How(asked, **how), io.BytesIO()) as inputs:
        return list(inputs.entries())


def seen(path: Path | list[Path], asked: Asked = OWN, **how: Any) -> list[tuple[Any, ...]]:
    """(file, query, label, number of the image or what is wrong with it) of all entries."""
    names = [str(one) for one in ([path] if isinstance(path, Path) else path)]
    numbers = {png(number): number for number in range(40)}
    with read(names, How(asked, **how), io.BytesIO()) as inputs:
        found: list[tuple[Any, ...]] = []
        for entry in inputs.entries():
            try:
                image: Any = numbers[content_of(entry)]
            except InputError as error:
                image = error.detail
            found.append((entry.file, entry.query, entry.label, image))
        assert inputs.count() == len(found)
    return found


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
def test_what_is_no_coco_file_is_told(tmp_path: Path, document: Any, says: str) -> None:
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


def test_what_is_no_parquet_or_lacks_a_column_is_told(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2"])
def test_tars_plain_and_packed(tmp_path: Path, suffix: str) -> None:
    paths = [tmp_path / f"00{i}{suffix}" for i in range(2)]
    bulk_data.tar(paths[0], bulk_data.samples(range(12)))
    bulk_data.tar(paths[1], bulk_data.samples(range(12, 20)))
    expected = [(f"00{n // 12}/{n:04}.png", f"q{n}", "thing", n) for n in range(20)]
    assert seen(paths) == expected
    assert seen(tmp_path) == expected  # a folder without images, with tars
    assert [one[1] for one in seen(paths, CUP)] == ["the cup"] * 20


def test_tar_samples_as_people_write_them(tmp_path: Path) -> None:
    members = [
        ("./dir/a.seg.png", b"a mask"),
        ("./dir/a.JPG", png(1)),
        ("./dir/a.txt", b" a caption \n"),
        ("b.json", b'{"query": "no image"}'),
        ("c.png", png(2)),
        ("d.png", png(3)),
        ("d.json", b"{"),
        ("e.png", png(4)),
        ("e.txt", b"\xff"),
        ("README", b"no ending"),
    ]
    path = bulk_data.tar(tmp_path / "x.tar", members)
    assert seen(path) == [
        ("x/dir/a.jpg", "a caption", "", 1),
        ("x/b", "no image", "", f"{path}/b has no image"),
        ("x/c.png", "", "", f"{path}/c.png has no query"),
        ("x/d.png", "", "", f"{path}/d.png has no query"),
        ("x/e.png", "", "", f"{path}/e.png has no query"),
    ]


def test_a_tar_that_ends_early_ends_the_reading(tmp_path: Path) -> None:
    path = bulk_data.tar(tmp_path / "x.tar", bulk_data.samples(range(10)))
    path.write_bytes(path.read_bytes()[: 5 * 2 * 1024 + 700])
    with read([str(path)], How(Asked()), io.BytesIO()) as inputs:
        entries = inputs.entries()
        for number in range(5):
            assert content_of(next(entries)) == png(number)
        with pytest.raises(InputError, match=r"x.tar cannot be read beyond its sample 5 .*mend it"):
            list(entries)
    (tmp_path / "y.tar").write_bytes(b"no tar at all")
    with pytest.raises(InputError, match=r"y\.tar cannot be read beyond its sample 0"):
        told(tmp_path / "y.tar")


def test_tars_estimate_how_many_there_are(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.tar" for i in range(4)]
    for path in paths:
        bulk_data.tar(path, bulk_data.samples(range(100)))
    source = tars.Tars(paths, Asked())
    assert source.count() is None
    counts = [source.count() for _ in source.entries()]
    assert all(300 < (count or 0) < 500 for count in counts[50:])
    assert source.count() == 400


def test_tars_do_not_remember_their_members(tmp_path: Path) -> None:
    """A `TarFile` keeps each header; over ten million samples that would be gigabytes."""
    path = bulk_data.tar(tmp_path / "x.tar", bulk_data.samples(range(500)))
    entries = tars.Tars([path], Asked()).entries()
    for _ in range(400):
        next(entries)
    gc.collect()
    # `type`, not `isinstance`: that asks each object for its class, and some answer with a warning.
    alive = sum(type(one) is tarfile.TarInfo for one in gc.get_objects())
    entries.close()  # type: ignore[attr-defined]
    assert alive < 20


def test_inputs_of_several_kinds_follow_one_another(tmp_path: Path) -> None:
    photos = bulk_data.folder(tmp_path / "photos", 1)
    tar = bulk_data.tar(tmp_path / "x.tar", bulk_data.samples(range(1, 3)))
    parquet = bulk_data.parquet(tmp_path / "x.parquet", {"image": [png(3)]})
    found = seen([tar, photos, parquet, tar], CUP)
    assert [one[3] for one in found] == [1, 2, 0, 3, 1, 2]


def test_a_missing_input_is_told(tmp_path: Path) -> None:
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
