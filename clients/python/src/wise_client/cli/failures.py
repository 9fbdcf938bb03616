"""Failures of a run's pairs: the first are printed, all are written down, and a server that is gone
ends the run."""

import json
from pathlib import Path
from types import TracebackType
from typing import IO

from wise_client.cli.common import add_hint, say
from wise_client.errors import TransportError, WiseClientError

_MOST_SHOWN = 5


class Failures:
    """`limit` pairs in a row without a connection end the run, as all others would fail too."""

    def __init__(self, limit: int, url: str, elsewhere: str) -> None:
        """`elsewhere`: where all failures are listed, for those that are not printed."""
        self.count = 0
        self._unreached = 0
        self._limit = limit
        self._url = url
        self._elsewhere = elsewhere

    def saw(self, name: str, error: WiseClientError | None) -> None:
        """Record the outcome of one pair, in order; raises its error if the server is gone."""
        if error is None:
            self._unreached = 0
            return
        self.count += 1
        self._unreached = self._unreached + 1 if isinstance(error, TransportError) else 0
        if self._unreached >= self._limit:
            add_hint(error, self._url)
            raise error
        if self.count <= _MOST_SHOWN:
            say(f"{name}: {error}")
        elif self.count == _MOST_SHOWN + 1:
            say(f"there are more failures; {self._elsewhere} lists them all")


class BadRecords:
    """A JSONL file of the pairs that failed in this run, each with its error; no file if none
    failed. After a complete run it has every pair without an answer, since pairs that failed in an
    earlier run were asked again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def add(self, index: int, image: str, query: str, error: WiseClientError) -> None:
        """Write one line; when this returns, the operating system has it."""
        if self._file is None:
            self._file = self._path.open("w", encoding="utf-8")
        record = {"index": index, "image": image, "query": query, "error": error.to_dict()}
        self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._file.flush()

    def __enter__(self) -> "BadRecords":
        self._path.unlink(missing_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
