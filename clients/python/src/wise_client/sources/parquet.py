"""Parquet: a row an image, with the query beside it. Needs `pip install 'wise-client[batch]'`.

| column                     | holds                                                            |
|----------------------------|------------------------------------------------------------------|
| `image`                    | encoded bytes, {"bytes", "path"} as Hugging Face has it, a path  |
| `query`, or else `text`    | the query, where the command line gives none                     |
| `label`                    | its class in a training set, where it is text; may be missing    |

Other names by --image-column, --query-column, --label-column and --name-column.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from wise_client.errors import InputError
from wise_client.extras import pyarrow_parquet
from wise_client.sources.entries import Asked, Entry, Image

_TEXTS_AT_ONCE = 1024
_IMAGES_AT_ONCE = 8
_UNREADABLE = (OSError, ValueError)  # pyarrow's own errors are ValueErrors
_BUFFER_BYTES = 1 << 20  # read columns in pieces: a row group of images can be gigabytes


@dataclass(frozen=True)
class Columns:
    """Names of columns; None for the usual ones. `name`: what names the images in outputs."""

    image: str = "image"
    query: str | None = None
    label: str | None = None
    name: str | None = None


class ParquetFile:
    """Images are read from the file only where they are needed, a few rows at a time."""

    def __init__(self, path: Path, root: Path | None, asked: Asked, columns: Columns) -> None:
        """`root`: where paths in the image column start (default: the file's folder).

        Raises InputError when the file cannot be read, or a column is missing.
        """
        self._path = path
        self._root = root or path.parent
        self._asked = asked
        with self._opened() as table:
            self._rows: int = table.metadata.num_rows
            there = table.schema_arrow.names
        queries = (columns.query,) if columns.query else ("query", "text")
        label = columns.label or ("label" if "label" in there else None)
        self._image = _first((columns.image,), there, path)
        self._query = None if asked.queries else _first(queries, there, path)
        self._label = _first((label,), there, path) if label else None
        self._name = _first((columns.name,), there, path) if columns.name else None

    def count(self) -> int:
        """Its rows, by the queries."""
        return self._rows * max(1, len(self._asked.queries))

    def entries(self) -> Iterator[Entry]:
        """As `Source.entries`; an image's name is `file:row` unless a column names it."""
        texts = [one for one in (self._query, self._label, self._name) if one is not None]
        row = 0
        try:
            with self._opened() as table:
                for group in range(table.num_row_groups):
                    images = _Images(table, group, self._image)
                    for in_group, values in enumerate(_rows(table, group, texts)):
                        told = values.get(self._name)
                        name = f"{self._path}:{row}" if told is None else str(told)
                        file = f"{self._path.stem}/{row}" if told is None else str(told)
                        image = Image(name, file, partial(self._read, images, in_group, name))
                        query, label = values.get(self._query), values.get(self._label)
                        yield from self._asked.about(image, query, label)
                        row += 1
        except _UNREADABLE as error:
            raise InputError(f"{self._path} cannot be read beyond row {row}: {error}") from error

    def _read(self, images: "_Images", row: int, name: str) -> Path | bytes:
        try:
            value = images.at(row)
        except _UNREADABLE as error:
            raise InputError(f"{name} cannot be read: {error}") from error
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes) and value:
            return value
        if isinstance(value, str) and value:
            return self._root / value
        raise InputError(f"{name} has no image: neither bytes nor a path")

    def _opened(self) -> Any:
        try:
            return pyarrow_parquet().ParquetFile(
                self._path, buffer_size=_BUFFER_BYTES, pre_buffer=False
            )
        except FileNotFoundError as error:
            raise InputError(f"There is no file {self._path}") from error
        except _UNREADABLE as error:
            raise InputError(f"{self._path} cannot be read as Parquet: {error}") from error


class _Images:
    """One row group's image column, from which rows are asked for in rising order."""

    def __init__(self, table: Any, group: int, column: str) -> None:
        self._batches = table.iter_batches(
            batch_size=_IMAGES_AT_ONCE, row_groups=[group], columns=[column]
        )
        self._batch: Any = None
        self._start = 0

    def at(self, row: int) -> Any:
        while self._batch is None or row >= self._start + len(self._batch):
            self._start += 0 if self._batch is None else len(self._batch)
            self._batch = next(self._batches).column(0)
        return self._batch[row - self._start].as_py()


def _rows(table: Any, group: int, columns: list[str]) -> Iterator[dict[str | None, Any]]:
    """The texts of each row. Without a column, a row group knows its rows all the same."""
    if not columns:
        for _ in range(table.metadata.row_group(group).num_rows):
            yield {}
        return
    for batch in table.iter_batches(batch_size=_TEXTS_AT_ONCE, row_groups=[group], columns=columns):
        yield from batch.to_pylist()


def _first(columns: tuple[str, ...], there: list[str], path: Path) -> str:
    """The first of the columns that is there."""
    for one in columns:
        if one in there:
            return one
    raise InputError(f"{path} has no column {' or '.join(columns)}; it has {', '.join(there)}")
