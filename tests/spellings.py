"""The meaning of an answer, and the ways to write it: digits, punctuation, quotes, texts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeVar

from hypothesis import strategies as st

SIDE: Final = 840  # side of the square of the coordinates, pixels


Drawn = TypeVar("Drawn")


class Draw(Protocol):
    """What `st.composite` gives a function to draw with."""

    def __call__(self, strategy: st.SearchStrategy[Drawn], /) -> Drawn: ...


@dataclass(frozen=True, slots=True)
class Meant:
    """One object, in whole pixels of the square: x1 < x2, y1 < y2. lone: it is its points alone."""

    box: tuple[int, int, int, int]
    points: tuple[tuple[int, int], ...]
    lone: bool = False


_sides = st.tuples(st.integers(2, SIDE), st.integers(2, SIDE)).filter(
    lambda ends: ends[0] != ends[1]
)
_boxes = st.builds(lambda xs, ys: (min(xs), min(ys), max(xs), max(ys)), _sides, _sides)
_points = st.tuples(st.integers(2, SIDE - 1), st.integers(2, SIDE - 1))


def meant(least_points: int = 0, most_points: int = 2) -> st.SearchStrategy[Meant]:
    points = st.lists(_points, min_size=least_points, max_size=most_points).map(tuple)
    return st.builds(Meant, _boxes, points)


def lone() -> st.SearchStrategy[Meant]:
    """An object of one or two points, without a box."""
    return meant(1, 2).map(lambda item: replace(item, lone=True))


@dataclass(frozen=True, slots=True)
class Spelling:
    """How an answer writes its numbers, its punctuation and its strings."""

    digits: str
    marks: dict[str, str]
    open_quote: str
    close_quote: str

    def mark(self, text: str) -> str:
        return "".join(self.marks.get(letter, letter) for letter in text)

    def number(self, value: int) -> str:
        return "".join(self.digits[int(letter)] for letter in str(value))

    def quoted(self, text: str) -> str:
        """A string of these quotes: a quote inside it and a backslash are escaped."""
        inner = text.replace("\\", "\\\\").replace(self.close_quote, "\\" + self.close_quote)
        return self.open_quote + inner + self.close_quote

    def listed(self, items: Sequence[str], brackets: str = "[]") -> str:
        return self.mark(brackets[0]) + self.mark(",").join(items) + self.mark(brackets[1])

    def member(self, key: str, value: str) -> str:
        return self.quoted(key) + self.mark(":") + value

    def object(self, members: Sequence[str]) -> str:
        return self.listed(members, "{}")


ASCII: Final = "0123456789"
FULL_WIDTH: Final = dict(zip("{}[]():,", "｛｝［］（）：，", strict=True))
SPACED: Final = {",": ", ", ":": ": "}
BROKEN_LINES: Final = {",": ",\n  ", "{": "{\n  ", "}": "\n}", ":": " : "}
SCRIPTS: Final[tuple[tuple[str, dict[str, str]], ...]] = (
    (ASCII, {}),
    (ASCII, SPACED),
    (ASCII, BROKEN_LINES),
    (ASCII, FULL_WIDTH),
    ("０１２３４５６７８９", FULL_WIDTH),
    ("٠١٢٣٤٥٦٧٨٩", {",": "، "}),
    ("۰۱۲۳۴۵۶۷۸۹", {}),
    ("०१२३४५६७८९", SPACED),
    ("০১২৩৪৫৬৭৮৯", {",": "、"}),
)
QUOTES: Final = ('""', "''", "“”", "‘’", "＂＂", "「」", "«»")

spellings = st.builds(
    lambda script, quotes: Spelling(*script, *quotes),
    st.sampled_from(SCRIPTS),
    st.sampled_from(QUOTES),
)

# Texts that a reader of loose words would take for keys, structure, numbers or tags' ends.
TEXTS: Final = (
    "gift box: the red one", "viewpoint: 3 of 4", "sticker with :-} on it", "a cup", "",
    "the cup's handle", "5 ] or 6 }", "{not open", '"bbox": [1, 2, 300, 400]', "'", "``` [", "a, b",
    "bbox", "point_2d: [7, 8]", "x1=1, y1=2", "日本：［１］", "null", "‹box›", "back\\slash",
    "// no",
)  # fmt: skip
texts = st.sampled_from(TEXTS)

THOUGHTS: Final = (
    "", "a cup", "round, so it rolls", "It goes into <answer> tags. ",
    "<answer>{}</answer> is wrong",
    'First guess {"bbox": [1,2,300,400]} is too wide. ', "<think> and <d_think> are tags; ",
    '<answer>{"bbox": [1,2,300,400]}</answer> no, ', "a < b", "<answer", "no </answer> yet",
)  # fmt: skip
thoughts = st.lists(st.sampled_from(THOUGHTS), max_size=3).map("".join)
