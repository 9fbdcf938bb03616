"""Inputs that change while `wise-segment batch` runs: each mask is of its own image, or none is."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import bulk_data
from command_line import Run
from scripted import ScriptedServer
from steps import Exchange

Change = Callable[[], object]


@dataclass
class Meanwhile:
    """Something else changes files while a request is in work."""

    change: Change

    async def play(self, exchange: Exchange) -> None:
        self.change()
        await exchange.answer()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return bulk_data.folder(tmp_path / "photos", 4)


def added(photos: Path) -> None:
    for name in ("0000-new.png", "9999.png"):
        (photos / name).write_bytes(bulk_data.png(777))


def exported(run: Run, form: str, *more: str) -> tuple[int, str]:
    words = ("--query", "q", "-o", form, "--export", "coco", "--coco", "c.json", "--no-progress")
    code, _, err = run("batch", "photos", *words, *more)
    return code, err


def documents(folder: Path, name: str) -> list[dict[str, Any]]:
    paths = (folder / "c.json", folder / f"{name}.coco" / "annotations.json")
    return [json.loads(path.read_text()) for path in paths]


@pytest.mark.parametrize("output", ["out", "out.jsonl"])
def test_images_that_were_added_are_not_in_the_data_sets(
    run: Run, photos: Path, tmp_path: Path, server: ScriptedServer, output: str
) -> None:
    server.script.append(Meanwhile(lambda: added(photos)))
    code, err = exported(run, output, "--concurrency", "1")
    assert code == 0, err
    for document in documents(tmp_path, "out"):
        sizes = {one["file_name"]: (one["width"], one["height"]) for one in document["images"]}
        assert sizes == {f"{number:04}.png": bulk_data.size_of(number) for number in range(4)}
        images = {one["id"]: one["file_name"] for one in document["images"]}
        for one in document["annotations"]:
            with Image.open(photos / images[one["image_id"]]) as picture:
                assert one["segmentation"]["size"] == [picture.height, picture.width]


def test_an_image_that_was_removed_is_reported(
    run: Run, photos: Path, tmp_path: Path, server: ScriptedServer
) -> None:
    server.script += [None, Meanwhile((photos / "0000.png").unlink)]
    code, err = exported(run, "out.jsonl", "--concurrency", "1")
    assert code == 2
    assert "photos/0000.png" in err
    assert "changed during the run" in err
    assert not (tmp_path / "c.json").exists()
    assert not (tmp_path / "out.coco").exists()
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 4
