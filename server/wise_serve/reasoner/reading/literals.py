"""The value of a word, a number, or a quoted text without numbers."""

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
# Words next to values that have no meaning: code fences, names of array libraries, a unit.
IGNORED: Final = frozenset(
    ["json", "python", "yaml", "array", "np.array", "list", "tuple", "px", "pixel", "pixels"]
)


_STRUCTURE: Final = frozenset("[{:,")


def number_of(text: str) -> Number:
    """An int if it is written as one, else a float; NaN for a text that only begins like a number,
    such as `1%`, `10-3` and `0x10`, and for numbers that are too long."""
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
    """Whether a text contains marks that normally separate keys and values."""
    return not _STRUCTURE.isdisjoint(plain(text))


def swallows_structure(key: str) -> bool:
    """Whether a key contains marks that should be around it, because a quote is missing or
    superfluous."""
    marked = plain(key)
    return "[" in marked or "{" in marked or (holds_structure(key) and any(map(str.isdigit, key)))
