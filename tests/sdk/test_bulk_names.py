"""Names and queries that UTF-8 or the file system cannot hold: the batch has a row for each."""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import bulk_data
from command_line import Run
from scripted import ScriptedServer
from wise_client import Client, InputError
from wise_client.errors import writable
from wise_client.inputs import load_rgb

ALL = ("coco", "yolo-seg", "labelme", "masks", "parquet")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """0000.png, 0001.png and one whose name is in Latin-1."""
    folder = bulk_data.folder(tmp_path / "photos", 2)
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png")).write_bytes(bulk_data.png(2))
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    return folder


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.is_dir():
        return [
            row for part in sorted(path.glob("part-*")) for row in pq.read_table(part).to_pylist()
        ]
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [{**one, "status": "error" if "error" in one else "found"} for one in rows]


def test_surrogates_are_written_as_their_numbers() -> None:
    assert writable("größer 🍵") == "größer 🍵"
    assert writable("caf\udce9 \ud800") == "caf%DCE9 %D800"


@pytest.mark.parametrize("output", ["out", "out.jsonl"])
def test_a_file_name_in_another_encoding(
    run: Run, photos: Path, tmp_path: Path, server: ScriptedServer, output: str
) -> None:
    words = ["batch", "photos", "--query", "q", "-o", output, "--no-progress", "--coco", "c.json"]
    words += [word for form in ALL for word in ("--export", form)]
    for _ in range(2):  # the second run finds all answers
        code, _, err = run(*words)
        assert code == 0, err
    assert len(server.received) == 3
    rows = rows_of(tmp_path / output)
    assert [one["image"] for one in rows] == [
        "photos/0000.png",
        "photos/0001.png",
        "photos/caf%DCE9.png",
    ]
    assert (tmp_path / "out.coco" / "images" / "caf%DCE9.png").read_bytes() == bulk_data.png(2)
    assert len(json.loads((tmp_path / "c.json").read_text())["images"]) == 3


@pytest.mark.parametrize("output", ["out", "out.jsonl"])
@pytest.mark.parametrize(
    ("pair", "says"),
    [
        ({"image": "a\0b.png", "query": "cup"}, "cannot be read"),
        ({"image": "\ud800.png", "query": "cup"}, "cannot be read"),
        ({"image": "caf\udce9.png", "query": "cup"}, "There is no file"),
        ({"image": "photo.jpg", "query": "cup \ud83d"}, "not valid Unicode"),
    ],
)
def test_a_pair_that_cannot_be_asked_is_a_failure_of_its_own(
    run: Run, photo: Path, tmp_path: Path, output: str, pair: dict[str, str], says: str
) -> None:
    pairs = [pair, {"image": "photo.jpg", "query": "cup"}]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(one) + "\n" for one in pairs))
    for _ in range(2):
        code, _, err = run("batch", "p.jsonl", "-o", output, "--no-progress")
        assert code == 7, err
    assert [one["status"] for one in rows_of(tmp_path / output)] == ["error", "found"]
    (bad,) = rows_of(tmp_path / "out.bad.jsonl")
    assert says in bad["error"]["detail"]


def test_the_sdk_writes_such_names_too(
    client: Client, photo: Path, tmp_path: Path, server: ScriptedServer
) -> None:
    pairs: list[tuple[Any, str]] = [(tmp_path / "\ud800.png", "q"), (photo, "\ud800"), (photo, "q")]
    for _ in range(2):
        outcomes = list(client.segment_many(pairs, output=tmp_path / "out.jsonl"))
        assert [one.ok for one in outcomes] == [False, False, True]
    assert [one["query"] for one in rows_of(tmp_path / "out.jsonl")] == ["q", "%D800", "q"]
    assert len(server.received) == 1


def test_a_path_that_no_file_can_have_is_an_input_error() -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_rgb(Path("a\0b.png"))
