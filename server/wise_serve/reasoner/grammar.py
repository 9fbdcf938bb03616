"""The regular expression that the engine's answers must match with `--structured-answers`.

    <think> any text </think> <answer> the form of the prompt's own example </answer>

It means the same in Python's `re` and in llguidance: it has classes, groups and counted repeats,
and no lookahead. `answer.py` understands every text that matches
(tests/unit/reasoner/test_grammar.py).
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final

from wise_serve.reasoner.parts import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN
from wise_serve.reasoner.strategies import Strategy
from wise_serve.reasoner.strategies.strategy import read_example

# White space is bounded: a model that repeats it would otherwise do so up to the token limit.
GAP: Final = r"[ \n]{0,4}"
NUMBER: Final = r"-?(?:0|[1-9][0-9]{0,4})(?:\.[0-9]{1,4})?"
QUOTE: Final = "[\"']"  # the checkpoints write either, whatever their prompt shows
# Without escapes, tags and control characters. An apostrophe may be inside double quotes.
TEXT: Final = r"""(?:"[^"\\<\x00-\x1f]{0,100}"|'[^"'\\<\x00-\x1f]{0,100}')"""
WORDS: Final = {bool: "(?:true|false)", type(None): "null", str: TEXT}
NOTHING: Final = r"\{\}|\[\]|null"  # a valid answer without a target


@cache
def answer_pattern(strategy: Strategy) -> str | None:
    """The pattern of the whole text, from `<think>` to `</answer>`, of one strategy.

    None if the strategy's prompt shows no example, or its answers have no tags. The rationale is
    any text without `</think>`, `<answer>` and `</answer>`."""
    if not strategy.example or not strategy.tagged:
        return None
    form = f"(?:{NOTHING}|{_form(read_example(strategy.example))})"
    rationale = text_without(THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)
    return f"{THINK_OPEN}{rationale}{THINK_CLOSE}{GAP}{ANSWER_OPEN}{GAP}{form}{GAP}{ANSWER_CLOSE}"


def _form(example: Any) -> str:
    """The pattern of all values of the example's form.

    They have the same keys in the same order, and as many values of the same types; a list of
    objects may have one or more of them, each of any form that the example lists."""
    if isinstance(example, dict):
        members = (
            f"{QUOTE}{re.escape(key)}{QUOTE}{GAP}:{GAP}{_form(value)}"
            for key, value in example.items()
        )
        return rf"\{{{GAP}{_separated(members)}{GAP}\}}"
    if isinstance(example, list) and example and isinstance(example[0], dict):
        forms = tuple(dict.fromkeys(map(_form, example)))
        one = forms[0] if len(forms) == 1 else f"(?:{'|'.join(forms)})"
        return rf"\[{GAP}{one}(?:{GAP},{GAP}{one})*{GAP}\]"
    if isinstance(example, list):
        return rf"\[{GAP}{_separated(map(_form, example))}{GAP}\]"
    return WORDS.get(type(example), NUMBER)


def _separated(parts: Iterable[str]) -> str:
    return f"{GAP},{GAP}".join(parts)


def text_without(*tags: str) -> str:
    """The pattern of any text, also an empty one, that contains none of these tags.

    Each tag starts with "<" and contains no other "<". After a "<" the pattern matches the
    beginning of a tag, never a whole one, and then a letter that does not continue the tag, or the
    next "<".
    """
    tails = tuple(tag[1:] for tag in tags)
    cut = "<" + _cut(tails)
    return f"(?:[^<]|(?:{cut})*<{_left(tails)})*(?:{cut})*"


def _next(tails: Sequence[str]) -> dict[str, list[str]]:
    """The rests of the tails by their first letter; tails of a single letter are left out."""
    following: dict[str, list[str]] = {}
    for tail in tails:
        if len(tail) > 1:
            following.setdefault(tail[0], []).append(tail[1:])
    return following


def _cut(tails: Sequence[str]) -> str:
    """A beginning of a tail: from nothing to all but its last letter."""
    branches = "|".join(letter + _cut(rest) for letter, rest in _next(tails).items())
    return f"(?:{branches})?" if branches else ""


def _left(tails: Sequence[str]) -> str:
    """A beginning of a tail, then a letter with which no tail continues."""
    others = "[^<" + "".join(sorted({tail[0] for tail in tails})) + "]"
    branches = [letter + _left(rest) for letter, rest in _next(tails).items()]
    return f"(?:{'|'.join([others, *branches])})" if branches else others
