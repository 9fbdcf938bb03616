"""The hub's parquet form."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

import eval_data as data
from wise_client.errors import InputError
from wise_client.eval import datasets

SIZE = (data.WIDTH, data.HEIGHT)


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
