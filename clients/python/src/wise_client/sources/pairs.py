"""Pairs in JSONL: `{"image": "a path", "query": "a sentence"}` a line, and a "label" if need be."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from wise_client.errors import InputError
from wise_client.sources.entries import Asked, Entry, Image


class Pairs:
    """All lines are checked before anything is sent, so that a bad one costs nothing."""

    def __init__(self, lines: IO[bytes], name: str, root: Path, asked: Asked) -> None:
        """Paths are relative to `root`. `lines` can be read several times, from its start.

        Raises InputError for a line that is no pair, and where there is no pair.
        """
        self._lines = lines
        self._name = name
        self._root = root
        self._asked = asked
        self._count = sum(1 for _ in self.entries())
        if not self._count:
            raise InputError(f"There is no pair in {name}")

    def count(self) -> int:
        """The pairs found at first."""
        return self._count

    def entries(self) -> Iterator[Entry]:
        """As `Source.entries`."""
        self._lines.seek(0)
        for number, line in enumerate(self._lines, start=1):
            if line.strip():
                yield from self._pairs(number, line)

    def _pairs(self, number: int, line: bytes) -> Iterator[Entry]:
        try:
            document = json.loads(line)
        except ValueError as error:
            raise InputError(f"{self._name} line {number} is not JSON: {error}") from error
        given: dict[str, Any] = document if isinstance(document, dict) else {}
        image, query, label = given.get("image"), given.get("query"), given.get("label", "")
        known = isinstance(image, str) and image and isinstance(label, str)
        if not known or not (isinstance(query, str) or (query is None and self._asked.queries)):
            raise InputError(
                f'{self._name} line {number} should be {{"image": "a path", "query": "a sentence"}}'
            )
        asked = self._asked if query is None else Asked()
        yield from asked.about(Image.at(self._root / str(image), self._root), query, label)


def opened(path: Path) -> IO[bytes]:
    """A file of pairs; raises InputError when there is none."""
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise InputError(f"There is no file or folder {path}") from error


def spooled(stream: IO[bytes]) -> IO[bytes]:
    """Standard input in a temporary file, since it is read more than once."""
    lines = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    shutil.copyfileobj(stream, lines)
    return lines
