"""What a word, a number or a quoted text without numbers stands for as a value."""

import math
import re
from typing import Final

from wise_serve.reasoner.reading.characters import plain
from wise_serve.reasoner.reading.lexer import Lexer, Token
from wise_serve.reasoner.reading.values import Number

_NUMBER: Final = re.compile(
    r"(?:(?P<integer>[-+]?\d+)|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?:px)?", re.A
)
_LONGEST_NUMBER: Final = 32  # characters; no coordinate is longer, and a huge one is slow to read
NULLS: Final = frozenset({"", "null", "none", "nil", "n/a", "na", "nan"})
WORDS: Final[dict[str, Number | None]] = {
    **dict.fromkeys(NULLS),
    **{"true": True, "false": False, "inf": math.inf, "infinity": math.inf},
}
# Words beside values that say nothing: of code fences, of array libraries, a unit.
IGNORED: Final = frozenset(
    ["json", "python", "yaml", "array", "np.array", "list", "tuple", "px", "pixel", "pixels"]
)


_STRUCTURE: Final = frozenset("[{:,")


def number_of(text: str) -> Number:
    """An int if it is written as one, else a float; NaN for what only begins like a number, such
    as `1%`, `10-3` and `0x10`, and for numbers that are too long."""
    found = _NUMBER.fullmatch(text) if len(text) <= _LONGEST_NUMBER else None
    if found is None:
        return math.nan
    if found["integer"] is not None:
        return int(found["integer"])
    return float(text.removesuffix("px"))


def number_tokens(text: str) -> list[Token] | None:
    """The tokens of a text that holds numbers, lists and commas only; None for any other text."""
    lexer = Lexer()
    tokens = [*lexer.feed(text), *lexer.close()]
    fits = all(one.kind in ("number", "line") or one.text in ("[", "]", ",") for one in tokens)
    return tokens if fits else None


def holds_structure(text: str) -> bool:
    """Whether a text has marks that would stand between keys and values."""
    return not _STRUCTURE.isdisjoint(plain(text))


def swallows_structure(key: str) -> bool:
    """Whether a key holds what should stand around it: a quote is missing, or is one too many."""
    marked = plain(key)
    return "[" in marked or "{" in marked or (holds_structure(key) and any(map(str.isdigit, key)))
