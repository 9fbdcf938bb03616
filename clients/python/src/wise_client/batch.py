"""Many pairs of image and query: what the two clients' `segment_many` share."""

import os
import threading
from collections.abc import Iterable, Sized
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

from wise_client.answers import AnswerFile
from wise_client.core import Core, Steps, Work
from wise_client.errors import InputError, OutputMismatchError, WiseClientError
from wise_client.inputs import ImageInput, Source, identity, keep
from wise_client.progress import Pace, ProgressBar
from wise_client.requests import Options
from wise_client.results import Segmentation

WINDOW_PER_WORKER = 4  # answers that may wait, per worker, for one before them that is slow


@dataclass(frozen=True)
class Outcome:
    """What became of one pair: `result`, or `error` in its place. `resumed`: by an earlier run."""

    index: int
    query: str
    result: Segmentation | None
    error: WiseClientError | None = None
    resumed: bool = False

    @property
    def ok(self) -> bool:
        return self.result is not None

    def unwrap(self) -> Segmentation:
        """The result; raises the error where there is none."""
        if self.result is not None:
            return self.result
        raise self.error or WiseClientError("There is neither a result nor an error")


class BatchJob:
    """One run of `segment_many`: its output file and its progress. A context manager."""

    def __init__(
        self,
        core: Core,
        pairs: object,
        options: Options,
        output: str | os.PathLike[str] | None,
        progress: bool,
    ) -> None:
        self._core = core
        self._options = options
        self._lock = threading.Lock()
        self._pace = Pace(len(pairs) if isinstance(pairs, Sized) else None)
        self._bar = ProgressBar(self._pace, shown=progress)
        self._answers = AnswerFile(output) if output is not None else None
        self._open = ExitStack()

    def steps(self, index: int, pair: object) -> Steps[Outcome]:
        """Take pair `index` from the output file, or ask and write it there; never raises a
        failure of the pair. Raises InputError when the file belongs to other pairs."""
        query = ""
        asked: dict[str, Any] = {}
        try:
            image, query = _checked(pair)
            source: Source = yield Work(lambda: keep(image))
            if self._answers is not None:
                asked = yield Work(lambda: self._asked(index, source, query))
                earlier: Outcome | None = yield Work(lambda: self._earlier(asked, source))
                if earlier is not None:
                    return earlier
            result = yield from self._core.segment(source, query, self._options)
            outcome = Outcome(index, query, result)
        except OutputMismatchError:
            raise
        except WiseClientError as error:
            outcome = Outcome(index, query, None, error)
        yield Work(lambda: self._record(asked or {"index": index, "query": query}, outcome))
        return outcome

    def finish(self) -> None:
        """After the last pair: put the output file in order."""
        if self._answers is not None:
            self._answers.finish()

    def __enter__(self) -> "BatchJob":
        if self._answers is not None:
            self._open.callback(self._answers.close)
        self._open.enter_context(self._bar)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def _asked(self, index: int, source: Source, query: str) -> dict[str, Any]:
        options = {name: value for name, value in asdict(self._options).items() if value}
        return {"index": index, "image": identity(source), "query": query, "options": options}

    def _earlier(self, asked: dict[str, Any], source: Source) -> Outcome | None:
        """The pair's answer of an earlier run; None where there is none, or a failure."""
        record = self._answers.get(asked["index"]) if self._answers else None
        if record is None:
            return None
        if any(name in record and record[name] != value for name, value in asked.items()):
            raise OutputMismatchError(
                f"{self._answers.path if self._answers else ''} holds another image, query or "
                f"options as pair {asked['index']}; choose another output file, or delete it"
            )
        if "response" not in record:
            return None
        result = Segmentation.from_dict(record["response"], query=asked["query"], image=source)
        with self._lock:
            self._pace.resumed()
            self._bar.update()
        return Outcome(asked["index"], asked["query"], result, resumed=True)

    def _record(self, asked: dict[str, Any], outcome: Outcome) -> None:
        if self._answers is not None:
            self._answers.append({**asked, **_told(outcome)})
        with self._lock:
            self._pace.answered(outcome.result.usage if outcome.result else None)
            self._bar.update()


def _checked(pair: object) -> tuple[ImageInput, str]:
    if not isinstance(pair, Iterable) or isinstance(pair, str | bytes):
        raise InputError(f"A pair is (image, query), not {type(pair).__name__}")
    both = tuple(pair)
    if len(both) != 2 or not isinstance(both[1], str):
        raise InputError("A pair is (image, query), the query a str")
    return both[0], both[1]


def _told(outcome: Outcome) -> dict[str, Any]:
    if outcome.result is not None:
        return {"response": outcome.result.to_dict()}
    error = outcome.error or WiseClientError("unknown")
    names = ("code", "detail", "status", "request_id")
    return {"error": {name: getattr(error, name) for name in names}}
