"""The events of a stream, in the order in which a request brings them."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from wise_client import errors
from wise_client.masks import BoolMask
from wise_client.parts import Box, Frame, Point
from wise_client.problems import from_problem
from wise_client.results import Segmentation
from wise_client.sse import SSEDecoder


@dataclass(frozen=True)
class ThinkingDelta:
    """More text of the rationale."""

    text: str
    query_index: int = 0


@dataclass(frozen=True)
class InstanceFound:
    """An object's box and points are complete; its mask follows in a MaskReady of the same `index`.

    box: None where the model gave points alone; the answer then has the mask's own. labels: of each
    point, whether it is on the object (1) or beside it (0).
    """

    index: int
    box: Box | None
    points: tuple[Point, ...]
    query_index: int = 0
    labels: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class MaskReady:
    """An object's mask; `score` is its predicted IoU."""

    index: int
    score: float
    frame: Frame
    payload: Mapping[str, Any]
    query_index: int = 0

    @cached_property
    def mask(self) -> BoolMask:
        """bool [height, width] of the original image, decoded at the first use."""
        return self.frame.mask(self.payload["mask"])

    @cached_property
    def area(self) -> int:
        """The mask's pixels."""
        return int(self.payload["area"] if self.frame.same else np.count_nonzero(self.mask))

    def __repr__(self) -> str:
        return f"MaskReady(index={self.index}, score={self.score:.2f})"


@dataclass(frozen=True)
class Done:
    """The last event: the whole answers, one a query."""

    results: tuple[Segmentation, ...]

    @property
    def result(self) -> Segmentation:
        """The first query's answer."""
        return self.results[0]


StreamEvent: TypeAlias = ThinkingDelta | InstanceFound | MaskReady | Done


class EventDecoder:
    """Bytes of one stream -> events. `read_answers` makes results of the `done` document.

    begun: whether an event has come."""

    def __init__(
        self,
        frame: Frame,
        request_id: str | None,
        read_answers: Callable[[Any], Sequence[Segmentation]],
    ) -> None:
        self._sse = SSEDecoder()
        self._frame = frame
        self._request_id = request_id
        self._read_answers = read_answers
        self._done = False
        self.begun = False

    def feed(self, chunk: bytes) -> Iterator[StreamEvent]:
        """Raises the APIError of an `error` event, UnexpectedAnswerError for what is no event."""
        for name, data in self._sse.feed(chunk):
            try:
                document = json.loads(data)
                event = self._event(name, document)
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise errors.UnexpectedAnswerError(
                    f"The stream's {name} event is not of this client's contract ({error})",
                    request_id=self._request_id,
                ) from error
            if event is not None:
                self.begun = True
                yield event

    def finish(self) -> None:
        """To be called at the stream's end; raises ConnectionLostError if it came too early."""
        if not self._done:
            raise errors.ConnectionLostError(
                "The stream ended before its answer was complete", request_id=self._request_id
            )

    def _event(self, name: str, document: Any) -> StreamEvent | None:
        if name == "error":
            raise from_problem(document, request_id=self._request_id)
        if name == "done":
            self._done = True
            return Done(tuple(self._read_answers(document)))
        query_index = int(document.get("query_index", 0))
        if name == "thinking":
            return ThinkingDelta(str(document["text"]), query_index)
        if name == "instance":
            return _found(document, self._frame, query_index)
        if name == "mask":
            _ = document["mask"], document["area"]
            score = float(document["score"])
            return MaskReady(int(document["index"]), score, self._frame, document, query_index)
        return None  # an event of a later version


def _found(document: Mapping[str, Any], frame: Frame, query_index: int) -> InstanceFound:
    """Raises KeyError, TypeError or ValueError for what is no such event."""
    box: Box | None = None
    if document["box"] is not None:
        x1, y1, x2, y2 = frame.coordinates([float(value) for value in document["box"]])
        box = x1, y1, x2, y2
    pairs = [frame.coordinates([float(x), float(y)]) for x, y in document["points"]]
    points = tuple((x, y) for x, y in pairs)
    labels = tuple(int(label) for label in document.get("labels") or [1] * len(points))
    return InstanceFound(int(document["index"]), box, points, query_index, labels)
