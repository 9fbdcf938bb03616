"""Many pairs of image and query: what the two clients' `segment_many` share."""

import os
import threading
from collections.abc import Iterable, Sized
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeAlias

from wise_client.answers import AnswerFile, Answers
from wise_client.core import Core
from wise_client.errors import InputError, OutputMismatchError, WiseClientError, writable
from wise_client.inputs import ImageInput, Source, identity, keep
from wise_client.progress import Pace, ProgressBar
from wise_client.requests import Options
from wise_client.results import Segmentation
from wise_client.steps import Steps, Work

WINDOW_PER_WORKER = 4  # answers per worker that may wait for an earlier, slow one


@dataclass(frozen=True)
class Question:
    """A pair with a number and a name, as each input of a large batch has them.

    `index` is its place among all inputs, from 0. `name` is what the output file calls the image.
    `label` is the class of the objects found, for a training set; "" stands for the query.
    If `image` is an InputError, that is the pair's outcome, and nothing is sent.
    """

    index: int
    name: str
    query: str
    image: Source | InputError
    label: str = ""

    def asked(self, options: Options) -> dict[str, Any]:
        """The pair's part of its record in the output, without the answer."""
        return asked_as(self.index, self.name, self.query, self.label, options)


def asked_as(index: int, name: str, query: str, label: str, options: Options) -> dict[str, Any]:
    """A record of `Answers` without its answer; `label` is left out if it is empty."""
    named = {"label": writable(label)} if label else {}
    pair = {"index": index, "image": writable(name), "query": writable(query), **named}
    return {**pair, "options": options.given()}


Pair: TypeAlias = tuple[ImageInput, str] | Question


@dataclass(frozen=True)
class Outcome:
    """The outcome of one pair: `result`, or else `error`. `resumed`: an earlier run answered it."""

    index: int
    query: str
    result: Segmentation | None
    error: WiseClientError | None = None
    resumed: bool = False

    @property
    def ok(self) -> bool:
        """Whether there is a result."""
        return self.result is not None

    def unwrap(self) -> Segmentation:
        """The result; raises the error if there is no result."""
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
        output: str | os.PathLike[str] | Answers | None,
        progress: bool,
    ) -> None:
        self._core = core
        self._options = options
        self._lock = threading.Lock()
        self._pace = Pace(len(pairs) if isinstance(pairs, Sized) else None)
        self._bar = ProgressBar(self._pace, shown=progress)
        self._open = ExitStack()
        self._answers: Answers | None = None
        if isinstance(output, str | os.PathLike):
            self._answers = self._open.enter_context(AnswerFile(output))
        elif output is not None:
            self._answers = output  # its caller opened it, and closes it

    def steps(self, index: int, pair: object) -> Steps[Outcome]:
        """Take pair `index` from the output file, or ask and write it there; never raises a
        failure of the pair. Raises InputError when the file belongs to other pairs."""
        asked: dict[str, Any] = {"index": index, "query": ""}
        try:
            if isinstance(pair, Question):
                question = pair
            else:
                image, asked["query"] = _checked(pair)
                question = yield Work(lambda: self._question(index, image, asked["query"]))
            asked = question.asked(self._options)
            if isinstance(question.image, InputError):
                raise question.image
            source = question.image
            earlier: Outcome | None = yield Work(lambda: self._earlier(asked, source))
            if earlier is not None:
                return earlier
            result = yield from self._core.segment(source, question.query, self._options)
            outcome = Outcome(asked["index"], asked["query"], result)
        except OutputMismatchError:
            raise
        except WiseClientError as error:
            outcome = Outcome(asked["index"], asked["query"], None, error)
        yield Work(lambda: self._record(asked, outcome))
        return outcome

    def finish(self) -> None:
        """After the last pair: put the output file in order."""
        if self._answers is not None:
            self._answers.finish()

    def __enter__(self) -> "BatchJob":
        self._open.enter_context(self._bar)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def _question(self, index: int, image: ImageInput, query: str) -> Question:
        source = keep(image)
        name = identity(source) if self._answers is not None else ""
        return Question(index, name, query, source)

    def _earlier(self, asked: dict[str, Any], source: Source) -> Outcome | None:
        """The pair's answer from an earlier run; None if there is none, or if the pair failed."""
        if self._answers is None or not self._answers.answered(asked):
            return None
        record = self._answers.get(asked["index"]) or {}
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
    return {"error": error.to_dict()}
