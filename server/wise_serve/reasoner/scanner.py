"""Finds boxes and points in the text inside `<answer>`, in one pass, without evaluating it.

The models are asked for JSON and mostly write it. They also write single quotes, Python tuples,
trailing commas, numbers as strings, code fences, prose around the JSON, and leave out brackets. So
this is no JSON parser. It reads words, numbers, brackets and colons, treats quotes, commas and
everything else as space, and collects the numbers that stand under each key:

    object   { key : values ... }      nested freely; a missing brace is implied at the end
    values   every number up to the next key, or up to the bracket that closes the value

A word counts as a key when a colon follows. Time is linear in the text, memory too, and no step
recurses.
"""

import math
import re
from dataclasses import dataclass, field

_NUMBER = r"(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
_TOKEN = re.compile(_NUMBER + r"|(?P<word>[^\W\d]\w*)", re.A)
_TOKEN_CHARACTERS = re.compile(r"[\w.+-]+", re.A)
_LONGEST_NUMBER = 32  # characters; no coordinate is longer, and float() of a huge text is slow
_NOT_A_VALUE = frozenset({"nan", "inf", "infinity", "null", "none"})
_FENCE_WORDS = frozenset({"json", "python"})
_BOX_NUMBERS = 4

Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class RawInstance:
    """A box (x1, y1, x2, y2) and its points as written, in the reasoner's square, not checked
    against it. Every number is finite."""

    box: tuple[float, float, float, float]
    points: tuple[Pair, ...]


@dataclass(slots=True)
class _Field:
    key: str
    numbers: list[float] = field(default_factory=list)


@dataclass(slots=True)
class _Object:
    """An object that is still open; `depth` counts the lists open inside its current value."""

    fields: list[_Field] = field(default_factory=list)
    current: _Field | None = None
    depth: int = 0


class AnswerScanner:
    """Fed with the answer's text in any pieces; gives each instance when its object closes."""

    def __init__(self) -> None:
        self._objects = [_Object()]  # the first is implied: it holds keys outside any brace
        self._run = ""  # a word or number that may go on in the next piece
        self._word: str | None = None  # a word that becomes a key if a colon follows
        self._numbers = 0
        self._prose = False
        self._structure = False
        self._zero_box = False

    def feed(self, text: str) -> list[RawInstance]:
        """Read on; the instances whose objects were closed in this piece."""
        found: list[RawInstance] = []
        position = 0
        while position < len(text):
            run = _TOKEN_CHARACTERS.match(text, position)
            if run:
                self._run += run.group()
                position = run.end()
                continue
            self._flush()
            found.extend(self._mark(text[position]))
            position += 1
        return found

    def close(self) -> list[RawInstance]:
        """The text is over: the objects still open are taken as closed here."""
        self._flush()
        found: list[RawInstance] = []
        while len(self._objects) > 1:
            found.extend(self._close_object())
        found.extend(self._instance(self._objects[0]))
        if self._word is not None:
            self._prose = True
        return found

    @property
    def names_nothing(self) -> bool:
        """Whether the closed text was a valid answer without a target: `{}`, `[]`, `null`, keys
        with empty values, or a box of zeros."""
        empty = self._structure and not self._prose and self._numbers == 0
        return empty or self._zero_box

    def _flush(self) -> None:
        run, self._run = self._run, ""
        for match in _TOKEN.finditer(run):
            if match["number"] is not None:
                self._number(match["number"])
            else:
                self._read_word(match["word"])

    def _number(self, text: str) -> None:
        self._numbers += 1
        current = self._objects[-1].current
        if current is not None:
            current.numbers.append(float(text) if len(text) <= _LONGEST_NUMBER else math.nan)

    def _read_word(self, word: str) -> None:
        if word.lower() in _NOT_A_VALUE:
            self._structure = True
            current = self._objects[-1].current
            if current is not None:
                current.numbers.append(math.nan)  # keeps the other coordinates in their places
        elif word.lower() not in _FENCE_WORDS:
            if self._word is not None:
                self._prose = True
            self._word = word

    def _mark(self, mark: str) -> list[RawInstance]:
        top = self._objects[-1]
        if mark in ":=":
            if self._word is not None:
                # A key also ends a list that was never closed.
                top.current, top.depth = _Field(self._word.lower()), 0
                top.fields.append(top.current)
                self._word = None
        elif mark in "[(":
            self._structure = True
            top.depth += 1
        elif mark in "])":
            top.depth = max(0, top.depth - 1)
            if top.depth == 0:
                top.current = None
        elif mark == "{":
            self._structure = True
            self._objects.append(_Object())
        elif mark == "}" and len(self._objects) > 1:
            return self._close_object()
        return []

    def _close_object(self) -> list[RawInstance]:
        closed = self._objects.pop()
        found = self._instance(closed)
        current = self._objects[-1].current
        if current is not None and not any("box" in item.key for item in closed.fields):
            # {"bbox": {"x1": 1, ...}} or {"points": [{"x": 1, "y": 2}]}: values of the outer key.
            for item in closed.fields:
                current.numbers.extend(item.numbers)
        return found

    def _instance(self, closed: _Object) -> list[RawInstance]:
        box = next((item.numbers for item in closed.fields if "box" in item.key), [])
        if len(box) < _BOX_NUMBERS or not all(map(math.isfinite, box[:_BOX_NUMBERS])):
            return []
        x1, y1, x2, y2 = box[:_BOX_NUMBERS]
        if x1 == y1 == x2 == y2 == 0:
            self._zero_box = True
            return []
        points: list[Pair] = []
        for item in closed.fields:
            if "point" in item.key and "box" not in item.key:
                pairs = zip(item.numbers[::2], item.numbers[1::2], strict=False)
                points.extend((x, y) for x, y in pairs if math.isfinite(x) and math.isfinite(y))
        return [RawInstance((x1, y1, x2, y2), tuple(points))]
