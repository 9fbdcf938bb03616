"""The values of an answer that may be boxes or points."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from wise_serve.reasoner.reading.keys import STRAY, Key

Number = int | float
Pair = tuple[Number, Number]
Box = tuple[Number, Number, Number, Number]
Row = tuple[Number | None, ...]  # None: null; NaN: text that only begins like a number

BOX_NUMBERS: Final = 4
POINT_NUMBERS: Final = 2
_TEXT_KEPT: Final = 64  # characters of a text value; enough to know a format by
_NOTHING: Final = ({None, -1}, {None, 0})  # the numbers that models write if there is no position


class NotUnderstood(Exception):
    """A part of the answer may be a box or a point, but has none of the known forms."""


@dataclass(frozen=True, slots=True)
class RawInstance:
    """A box (x1, y1, x2, y2) and its points as written, in the strategy's frame, not checked
    against it. Every number is finite, and an int if it was written as one.

    box: None where the strategy has objects that are points alone. labels: of the points, as SAM 2
    has them; empty where the strategy has none.
    """

    box: Box | None
    points: tuple[Pair, ...]
    labels: tuple[int, ...] = ()


@dataclass(slots=True)
class Field:
    """A key of an object, and its values.

    rows: the numbers of each innermost list, in order, and named boxes and points as such rows.
    depth: lists that are open. named: boxes by name under a key that is not a box's.
    text: whether there is text; its beginning if the key is of a format. children: whether there
    are objects.
    """

    key: Key
    rows: list[Row] = field(default_factory=list)
    row: list[Number | None] = field(default_factory=list)
    depth: int = 0
    named: list[Box] = field(default_factory=list)
    text: str | None = None
    children: bool = False

    def end_row(self) -> None:
        """The numbers up to here become one row, if there are any."""
        if self.row:
            self.rows.append(tuple(self.row))
            self.row = []

    @property
    def numbers(self) -> set[Number | None]:
        """Every number of the ended rows."""
        return {number for row in self.rows for number in row}

    @property
    def empty(self) -> bool:
        """Whether it says that there is nothing: no value, nulls, all -1, all 0."""
        bare = self.text is None and not self.children and not self.named
        return bare and says_nothing(self.numbers)

    def checked_rows(self) -> list[Row]:
        """The rows. Raises NotUnderstood if they contain anything but finite numbers and nulls."""
        if self.rows and self.text is not None:
            raise NotUnderstood  # a unit, a note, a calculation
        if not all(number is None or math.isfinite(number) for number in self.numbers):
            raise NotUnderstood
        return self.rows


class OpenObject:
    """An object whose brace is still open.

    fields: the first has the values without a key. current: the field whose value is read.
    awaits_value: the last thing in it was a key's colon. damaged: a quote or a bracket is missing
    in it. holds_found: an object inside it has a box.
    """

    def __init__(self) -> None:
        self.current = Field(STRAY)
        self.fields = [self.current]
        self.awaits_value = False
        self.damaged = False
        self.holds_found = False

    def begin(self, key: Key) -> None:
        """Begin a key, which also ends a list that was never closed."""
        self.awaits_value = True
        self.current.depth = 0
        self.fields.append(Field(key))
        self._switch(self.fields[-1])

    def add_text(self, text: str) -> None:
        """Add a text that is not a key; after a complete value it belongs to no key."""
        finished = self.current.rows or self.current.text is not None
        if finished and self.current.depth == 0:
            self._switch(self.fields[0])
        if self.current.text is None:
            self.current.text = text[:_TEXT_KEPT]

    def _switch(self, to: Field) -> None:
        self.current.end_row()
        self.current = to


def says_nothing(numbers: set[Number | None]) -> bool:
    """Whether these are the values that a model writes if it has no coordinates: nulls, all -1, all
    0."""
    return any(numbers <= nothing for nothing in _NOTHING)


def lone_point(place: Sequence[Number]) -> RawInstance:
    """The object of a single point, from its two numbers."""
    return RawInstance(None, ((place[0], place[1]),))


def box_of(place: Sequence[Number]) -> Box | None:
    """Four numbers as a box; none for any other count."""
    if len(place) != BOX_NUMBERS:
        return None
    x1, y1, x2, y2 = place
    return x1, y1, x2, y2
