"""The output file of a batch: one JSON object per line, appended as answers come, in any order.

A line holds the pair (`index`, `image`, `query`, `options`, `label` where it has one) and either
`response`, the answer as in the contract, or `error` (`code`, `detail`, `status`, `request_id`).
Each line is written by one call, so a killed run leaves at most its last line torn, which the next
run cuts off. If a pair has several lines, the last one is used. `finish` puts the lines in order,
one per pair.
"""

import json
import os
import sys
import threading
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from wise_client.errors import InputError, OutputMismatchError

if sys.platform != "win32":
    import fcntl

QUESTION = ("image", "query", "options")  # if one of these differs, it is another question
_NOWHERE = -1


class Answers(Protocol):
    """The store of a batch's answers. Safe for use by several threads of one process."""

    def answered(self, asked: Mapping[str, Any]) -> bool:
        """Whether an earlier run got an answer to this question; a failure does not count.

        Raises OutputMismatchError when another question has this one's index.
        """

    def get(self, index: int) -> dict[str, Any] | None:
        """The last record of this index, if there is one."""

    def append(self, record: dict[str, Any]) -> None:
        """Write a record; when this returns, the operating system has it."""

    def finish(self) -> None:
        """After the last question: complete the output."""


class AnswerFile:
    """`Answers` in a JSONL file; raises InputError where another process writes into it."""

    def __init__(self, path: str | os.PathLike[str], first_index: int = 0) -> None:
        """Open or create it; raises InputError if it is not the output of a batch.

        `first_index`: the smallest index in it.
        """
        self.path = Path(path)
        self._lock = threading.Lock()
        self._first_index = first_index
        # Offsets of the records' lines in bytes, by index: eight bytes a record, for large batches.
        self._places = array("q")
        self._count = 0
        try:
            self._file = self.path.open("r+b" if self.path.exists() else "w+b")
        except OSError as error:
            raise InputError(f"{self.path} cannot be written: {error.strerror}") from error
        try:
            claim(self._file.fileno(), self.path)
            self._read()
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        """How many pairs have a record."""
        return self._count

    def answered(self, asked: Mapping[str, Any]) -> bool:
        """As `Answers.answered`."""
        record = self.get(asked["index"])
        if record is None:
            return False
        if any(name in record and record[name] != asked[name] for name in QUESTION):
            raise mismatch(self.path, asked["index"])
        return "response" in record

    def get(self, index: int) -> dict[str, Any] | None:
        """As `Answers.get`."""
        with self._lock:
            return self._record(index)

    def append(self, record: dict[str, Any]) -> None:
        """As `Answers.append`: writes one line."""
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            offset = self._file.seek(0, os.SEEK_END)
            self._file.write(line)
            self._file.flush()
            self._keep(record["index"], offset)

    @property
    def whole(self) -> bool:
        """Whether every index from the first to the last has a record."""
        return self._count == len(self._places)

    def records(self) -> Iterator[dict[str, Any]]:
        """All records, in the order of their indices."""
        for place in range(len(self._places)):
            record = self.get(self._first_index + place)
            if record is not None:
                yield record

    def finish(self) -> None:
        """As `Answers.finish`: puts the lines in order; replaces the file whole or not at all."""
        with self._lock:
            ordered = self.path.with_name(self.path.name + ".ordering")
            with ordered.open("wb") as out:
                for place, offset in enumerate(self._places):
                    if offset != _NOWHERE:
                        self._places[place] = out.tell()
                        self._file.seek(offset)
                        out.write(self._file.readline())
                out.flush()
                os.fsync(out.fileno())
            ordered.replace(self.path)
            self._file.close()
            self._file = self.path.open("r+b")

    def close(self) -> None:
        """Release the lock, so that other processes may write."""
        self._file.close()

    def __enter__(self) -> "AnswerFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _record(self, index: int) -> dict[str, Any] | None:
        place = index - self._first_index
        if not 0 <= place < len(self._places) or self._places[place] == _NOWHERE:
            return None
        self._file.seek(self._places[place])
        record: dict[str, Any] = json.loads(self._file.readline())
        return record

    def _keep(self, index: int, offset: int) -> None:
        place = index - self._first_index
        if place < 0:
            raise ValueError(f"index {index} is below {self._first_index}")
        while place >= len(self._places):
            self._places.append(_NOWHERE)
        self._count += self._places[place] == _NOWHERE
        self._places[place] = offset

    def _read(self) -> None:
        offset = 0
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):
                self._file.truncate(offset)
                break
            try:
                self._keep(int(json.loads(line)["index"]), offset)
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{self.path} line {number} is not of a batch; choose another output file"
                ) from error
            offset += len(line)


def claim(descriptor: int, path: Path) -> None:
    """Keep other processes from writing into an open file or folder, until it is closed.

    Raises InputError if another process has it. If the system has no such locks (Windows, some
    network file systems) nothing is checked.
    """
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(f"{path} is being written by another process") from error
    except OSError:
        return


def mismatch(path: Path, index: int) -> OutputMismatchError:
    """The error for an output that has another question at `index`."""
    return OutputMismatchError(
        f"{path} holds another image, query or options as pair {index}; choose another output "
        "file, or delete it"
    )


def read_records(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """The records of a finished output file, in the pairs' order."""
    with Path(path).open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
