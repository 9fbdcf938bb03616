"""RefCOCO's published files, and pickles that contain something else."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eval_data as data
from wise_client.errors import InputError
from wise_client.eval import datasets, refcoco

SIZE = (data.WIDTH, data.HEIGHT)


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
