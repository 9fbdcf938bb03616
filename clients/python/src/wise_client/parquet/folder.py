"""The answers of a batch as a folder of Parquet files: what `wise-segment batch -o FOLDER` writes.

    part-00000000.parquet   rows 0 to 9,999; each file is whole from the moment that it is there
    part-00000001.parquet   rows 10,000 to 19,999
    .job.json               what all of them have in common: options, rows per part
    _pending/               a JSONL file for each part that is not complete, as answers come

Readers of Parquet folders ignore names that begin with a dot, and `_pending` is empty in the end.
A run that was killed continues with the answers in `_pending`, so it loses only the answers that
were in flight. Pairs that failed are asked again by the next run. Their rows are dropped when their
part is opened again, so a part is complete once all of them have been asked. If a part and its
pending file both exist, the pending file is used: it has all answers of the part.
"""

import json
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from wise_client.answers import AnswerFile, claim
from wise_client.errors import InputError, OutputMismatchError
from wise_client.extras import pyarrow
from wise_client.parquet.part import Part, write

ROWS_PER_PART = 10_000
JOB = ".job.json"
_PENDING = "_pending"


class ParquetAnswers:
    """`Answers` in a folder of Parquet files; one process at a time. A context manager."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        options: Mapping[str, Any],
        rows_per_part: int | None = None,
    ) -> None:
        """Open or create it. `options` are those of the requests: `Options.given`. Without
        `rows_per_part` it is what the folder has, or ROWS_PER_PART.

        Raises InputError without pyarrow, and where the folder holds something else, is being
        written by another process, or is of other options (OutputMismatchError).
        """
        pyarrow()  # a missing extra is reported before anything is sent
        self.folder = Path(folder)
        self._rows = rows_per_part or 0
        self._options = dict(options)
        self._lock = threading.Lock()
        self._pending: dict[int, AnswerFile] = {}
        self._last_read: tuple[int, Part] | None = None
        with ExitStack() as opened:
            self._writer = opened.enter_context(ThreadPoolExecutor(1, "wise-parquet"))
            self._open(opened)
            self._opened = opened.pop_all()

    def __len__(self) -> int:
        """How many pairs have a row in a finished part."""
        if not self._finished:
            return 0
        last = max(self._finished)
        return (len(self._finished) - 1) * self._rows + len(self._part(last))

    def answered(self, asked: Mapping[str, Any]) -> bool:
        """As `Answers.answered`."""
        number, place = divmod(asked["index"], self._rows)
        with self._lock:
            if number in self._pending:
                return self._pending[number].answered(asked)
            return number in self._finished and self._part(number).answered(place, asked)

    def get(self, index: int) -> dict[str, Any] | None:
        """As `Answers.get`."""
        number, place = divmod(index, self._rows)
        with self._lock:
            if number in self._pending:
                return self._pending[number].get(index)
            return self._part(number).get(place) if number in self._finished else None

    def append(self, record: dict[str, Any]) -> None:
        """As `Answers.append`, once for each index; the last record of a part completes it."""
        number = record["index"] // self._rows
        with self._lock:
            if number not in self._pending:
                earlier = self._part(number).records() if number in self._finished else ()
                self._pending[number] = self._opened_again(number, earlier)
            pending = self._pending[number]
            pending.append(record)
            complete = len(pending) == self._rows
        if complete:  # outside the lock: records of other parts need not wait
            self._complete(number)

    def finish(self) -> None:
        """As `Answers.finish`: completes the last part, which may be shorter.

        Raises OutputMismatchError where rows are missing before others.
        """
        for number in sorted(self._pending):
            self._complete(number)
        if self._finished != set(range(len(self._finished))):
            raise OutputMismatchError(f"{self.folder} is of more pairs; choose another folder")

    def records(self) -> Iterator[dict[str, Any]]:
        """The records of all finished parts, in the order of their indices."""
        for number in sorted(self._finished):
            yield from Part(self._path(number), self._options).records()

    def close(self) -> None:
        """Let others have it."""
        self._opened.close()
        for pending in self._pending.values():
            pending.close()

    def __enter__(self) -> "ParquetAnswers":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, opened: ExitStack) -> None:
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.folder} cannot be written: {error.strerror}") from error
        if sys.platform != "win32":
            descriptor = os.open(self.folder, os.O_RDONLY)
            opened.callback(os.close, descriptor)
            claim(descriptor, self.folder)
        self._check_job()
        (self.folder / _PENDING).mkdir(exist_ok=True)
        for scratch in (self.folder / _PENDING).glob("*.scratch"):
            scratch.unlink()
        for file in (self.folder / _PENDING).glob("part-*.jsonl"):
            number = _number(file)
            with AnswerFile(file, number * self._rows) as earlier:
                pending = self._opened_again(number, earlier.records())
            self._pending[number] = opened.enter_context(pending)
        self._finished = {_number(part) for part in self.folder.glob("part-*.parquet")}

    def _check_job(self) -> None:
        """Write down what the batch is, or compare it with what is there."""
        path = self.folder / JOB
        scratch = self.folder / f"{JOB}.scratch"
        if path.exists():
            job = json.loads(path.read_bytes())
            self._rows = self._rows or job["rows_per_part"]
            if job != self._job():
                raise OutputMismatchError(
                    f"{self.folder} is of other options ({job}); choose another folder"
                )
        elif any(one != scratch for one in self.folder.iterdir()):
            raise InputError(f"{self.folder} is not empty, and is not of a batch; name another")
        else:
            self._rows = self._rows or ROWS_PER_PART
            scratch.write_text(json.dumps(self._job()), "utf-8")
            scratch.replace(path)

    def _job(self) -> dict[str, Any]:
        return {"options": self._options, "rows_per_part": self._rows}

    def _opened_again(self, number: int, earlier: Iterable[dict[str, Any]]) -> AnswerFile:
        """A part's pending file, with the answers among its earlier records."""
        path, first = self._pending_path(number, "jsonl"), number * self._rows
        scratch = self._pending_path(number, "scratch")
        with AnswerFile(scratch, first) as pending:
            for record in earlier:
                if "response" in record:
                    pending.append(record)
        scratch.replace(path)
        return AnswerFile(path, first)

    def _complete(self, number: int) -> None:
        """Make the Parquet file; after a kill on the way, it is made again from the same."""
        pending = self._pending[number]
        if not pending.whole:
            raise OutputMismatchError(f"{self.folder} is of more pairs; choose another folder")
        scratch = self._pending_path(number, "scratch")
        # In one thread: each thread that writes a part would keep the memory it needed.
        self._writer.submit(write, self._path(number), pending.records(), scratch).result()
        with self._lock:
            self._finished.add(number)
            del self._pending[number]
            self._last_read = None
            pending.close()
            pending.path.unlink()

    def _part(self, number: int) -> Part:
        if self._last_read is None or self._last_read[0] != number:
            self._last_read = (number, Part(self._path(number), self._options))
        return self._last_read[1]

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:08}.parquet"

    def _pending_path(self, number: int, suffix: str) -> Path:
        return self.folder / _PENDING / f"part-{number:08}.{suffix}"


def _number(path: Path) -> int:
    return int(path.stem.removeprefix("part-"))
