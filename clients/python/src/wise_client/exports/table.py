"""Parquet with images, as `datasets` reads it: `load_dataset("FOLDER")`. A row a pair.

The columns are those of the batch's own output (`wise_client.parquet.rows`), but that `image` is
the picture itself, `{"bytes", "path"}`, which `datasets` decodes. `name` is its path in the set.
"""

import json
from pathlib import Path
from typing import Any

from wise_client.exports.samples import Sample
from wise_client.extras import pyarrow, pyarrow_parquet
from wise_client.parquet.rows import row_of, schema

_GROUP_BYTES = 32 << 20
_FILE_BYTES = 500 << 20


class Table:
    """Files of some 500 MB in `data/`; images of one row group are in memory at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "data"
        self._folder.mkdir()
        self._schema = _with_pictures()
        self._rows: list[dict[str, Any]] = []
        self._group_bytes = self._file_bytes = self._files = 0
        self._writer: Any = None

    def add(self, sample: Sample) -> None:
        """Write a row for each question about the image."""
        picture = {"bytes": sample.content, "path": str(sample.file)}
        for record in sample.records:
            self._rows.append({**row_of(record), "image": picture, "name": picture["path"]})
            self._group_bytes += len(sample.content)
        if self._group_bytes >= _GROUP_BYTES:
            self._write()

    def finish(self) -> None:
        """Write the last rows."""
        if self._rows or not self._files:
            self._write()
        self._close()

    def _write(self) -> None:
        if self._writer is None:
            path = self._folder / f"train-{self._files:05}.parquet"
            self._writer = pyarrow_parquet().ParquetWriter(path, self._schema, compression="zstd")
            self._files += 1
        self._writer.write_table(pyarrow().Table.from_pylist(self._rows, schema=self._schema))
        self._file_bytes += self._group_bytes
        self._rows, self._group_bytes = [], 0
        if self._file_bytes >= _FILE_BYTES:
            self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer, self._file_bytes = None, 0


def _with_pictures() -> Any:
    """The schema of rows with pictures; its metadata says to `datasets` what they are."""
    pa = pyarrow()
    picture = pa.field("image", pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    fields = [picture if one.name == "image" else one for one in schema()]
    fields.append(pa.field("name", pa.string()))
    features = {one.name: _feature(pa, one.type) for one in fields}
    features["image"] = {"_type": "Image"}
    told = json.dumps({"info": {"features": features}})
    return pa.schema(fields, metadata={"huggingface": told})


def _feature(pa: Any, kind: Any) -> Any:
    """A type as `datasets` writes it."""
    if pa.types.is_list(kind):
        return [_feature(pa, kind.value_type)]
    if pa.types.is_struct(kind):
        return {one.name: _feature(pa, one.type) for one in kind}
    names = {"double": "float64"}
    return {"dtype": names.get(str(kind), str(kind)), "_type": "Value"}
