"""The output file of a batch: one JSON object a line, appended as answers come, in any order.

A line holds the pair (`index`, `image`, `query`, `options`) and either `response`, the answer as
in the contract, or `error` (`code`, `detail`, `status`, `request_id`). Each line is written by one
call, so a killed run leaves at most its last line torn, which the next run cuts off. When a pair
has several lines, the last counts. `finish` puts the lines in order, one a pair.
"""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wise_client.errors import InputError


class AnswerFile:
    """Safe for use by several threads of one process; one process at a time."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open or create it; raises InputError if it is not the output of a batch."""
        self.path = Path(path)
        self._lock = threading.Lock()
        self._places: dict[int, int] = {}  # index of a pair -> offset of its line, in bytes
        try:
            self._file = self.path.open("r+b" if self.path.exists() else "w+b")
        except OSError as error:
            raise InputError(f"{self.path} cannot be written: {error.strerror}") from error
        try:
            self._read()
        except BaseException:
            self._file.close()
            raise

    def get(self, index: int) -> dict[str, Any] | None:
        """The last record of pair `index`."""
        with self._lock:
            if index not in self._places:
                return None
            self._file.seek(self._places[index])
            record: dict[str, Any] = json.loads(self._file.readline())
            return record

    def append(self, record: dict[str, Any]) -> None:
        """Write one line; it is with the operating system when this returns."""
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            offset = self._file.seek(0, os.SEEK_END)
            self._file.write(line)
            self._file.flush()
            self._places[record["index"]] = offset

    def finish(self) -> None:
        """Put the lines in the pairs' order; the file is replaced whole or not at all."""
        with self._lock:
            offsets = [self._places[index] for index in sorted(self._places)]
            ordered = self.path.with_name(self.path.name + ".ordering")
            with ordered.open("wb") as out:
                for offset in offsets:
                    self._file.seek(offset)
                    out.write(self._file.readline())
                out.flush()
                os.fsync(out.fileno())
            self._file.close()
            ordered.replace(self.path)

    def close(self) -> None:
        self._file.close()

    def _read(self) -> None:
        offset = 0
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):
                self._file.truncate(offset)
                break
            try:
                self._places[int(json.loads(line)["index"])] = offset
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{self.path} line {number} is not of a batch; choose another output file"
                ) from error
            offset += len(line)


def read_records(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """The records of a finished output file, in the pairs' order."""
    with Path(path).open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
