"""One Parquet file of a batch: written whole or not at all, and read again by the next run."""

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from wise_client.answers import mismatch
from wise_client.errors import InputError
from wise_client.extras import pyarrow, pyarrow_parquet
from wise_client.parquet.rows import ERROR, record_of, row_of, schema

_ASKED = ("index", "image", "query")  # the options are the folder's
ROWS_PER_GROUP = 1000
_ROWS_AT_ONCE = 100


def write(path: Path, records: Iterable[Mapping[str, Any]], scratch: Path) -> None:
    """Write `records`, in their order, to `path`, which appears when all are on the disk.

    `scratch`: a path on the same file system, for the file until then. Any number of writers may
    write the same `path`, each with a scratch path of its own: one of their files stays.
    """
    pa, parquet = pyarrow(), pyarrow_parquet()
    form = schema()
    rows = map(row_of, records)
    with scratch.open("wb") as file:
        with parquet.ParquetWriter(file, form, compression="zstd") as writer:
            while group := _group(pa, rows, form):
                writer.write_table(pa.concat_tables(group))
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    pa.default_memory_pool().release_unused()


def _group(pa: Any, rows: Iterator[dict[str, Any]], form: Any) -> list[Any]:
    """Tables of the next row group; Python objects are made of a few rows at a time only."""
    chunks = range(0, ROWS_PER_GROUP, _ROWS_AT_ONCE)
    lists = (list(islice(rows, min(_ROWS_AT_ONCE, ROWS_PER_GROUP - start))) for start in chunks)
    return [pa.Table.from_pylist(one, schema=form) for one in lists if one]


class Part:
    """A finished file, of a batch with these `options`; what it was asked is kept in memory."""

    def __init__(self, path: Path, options: Mapping[str, Any]) -> None:
        """Raises InputError when it is not a file that `write` made."""
        self._path = path
        self._options = options
        try:
            with self._opened() as table:
                asked = table.read(columns=[*_ASKED, "status"])
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path} cannot be read: {error}; is it of a batch?") from error
        self._asked: list[dict[str, Any]] = asked.to_pylist()
        self._group: tuple[int, list[dict[str, Any]]] = (-1, [])

    def __len__(self) -> int:
        return len(self._asked)

    def answered(self, place: int, asked: Mapping[str, Any]) -> bool:
        """Whether row `place` is an answer; raises OutputMismatchError if to another question."""
        if place >= len(self._asked):
            return False
        row = self._asked[place]
        if any(row[name] != asked[name] for name in _ASKED):
            raise mismatch(self._path, asked["index"])
        return bool(row["status"] != ERROR)

    def get(self, place: int) -> dict[str, Any] | None:
        """The record of row `place`, if there is one."""
        if place >= len(self._asked):
            return None
        group, row = divmod(place, ROWS_PER_GROUP)
        if group != self._group[0]:
            with self._opened() as table:
                self._group = (group, table.read_row_group(group).to_pylist())
        return record_of(self._group[1][row], self._options)

    def records(self) -> Iterator[dict[str, Any]]:
        """All records, in their order."""
        with self._opened() as table:
            for group in range(table.num_row_groups):
                for row in table.read_row_group(group).to_pylist():
                    yield record_of(row, self._options)

    def _opened(self) -> Any:
        return pyarrow_parquet().ParquetFile(self._path)
