"""The regular expression of a well-formed answer, for an engine that is held to it.

    <think> any text </think> <answer> the form of the prompt's own example </answer>

It reads the same in Python's `re` and in llguidance: classes, groups and counted repeats, nothing
that looks ahead. Whatever matches is read by `answer.py` as it is meant (tests/unit/test_grammar).
"""

import json
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final

from wise_serve.reasoner.parts import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN
from wise_serve.reasoner.strategies import Strategy

# White space is bounded, or a model that loops on it would write to its limit inside the form.
GAP: Final = r"[ \n]{0,4}"
NUMBER: Final = r"-?(?:0|[1-9][0-9]{0,4})(?:\.[0-9]{1,4})?"
QUOTE: Final = "[\"']"  # the checkpoints write either, whatever their prompt shows
NOTHING: Final = r"\{\}|\[\]|null"  # a valid answer without a target


@cache
def answer_pattern(strategy: Strategy) -> str | None:
    """The whole text, from `<think>` to `</answer>`, of one strategy; none if its prompt shows no
    example, or its answers have no tags. The rationale is any text without `</think>` and
    `<answer>`, which would end it, and `</answer>`, which would end all."""
    if not strategy.example or not strategy.tagged:
        return None
    example: Any = json.loads(strategy.example.replace("'", '"'))
    form = f"(?:{NOTHING}|{_form(example)})"
    rationale = text_without(THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)
    return f"{THINK_OPEN}{rationale}{THINK_CLOSE}{GAP}{ANSWER_OPEN}{GAP}{form}{GAP}{ANSWER_CLOSE}"


def _form(example: Any) -> str:
    """Any value of the example's form: its keys in their order, so many numbers where it has
    numbers, one or more objects where it lists objects."""
    if isinstance(example, dict):
        members = (
            f"{QUOTE}{key}{QUOTE}{GAP}:{GAP}{_form(value)}" for key, value in example.items()
        )
        return rf"\{{{GAP}{_separated(members)}{GAP}\}}"
    if isinstance(example, list) and isinstance(example[0], dict):
        one = _form(example[0])
        return rf"\[{GAP}{one}(?:{GAP},{GAP}{one})*{GAP}\]"
    if isinstance(example, list):
        return rf"\[{GAP}{_separated(map(_form, example))}{GAP}\]"
    return NUMBER


def _separated(parts: Iterable[str]) -> str:
    return f"{GAP},{GAP}".join(parts)


def text_without(*tags: str) -> str:
    """Any text, even none, without these tags; what may follow it is one of the tags.

    Each tag begins with "<" and holds no other. A "<" is read with as much as there is of a tag,
    but for its end, and then comes either a letter that is not the tag's, or the next "<".
    """
    tails = tuple(tag[1:] for tag in tags)
    cut = "<" + _cut(tails)
    return f"(?:[^<]|(?:{cut})*<{_left(tails)})*(?:{cut})*"


def _next(tails: Sequence[str]) -> dict[str, list[str]]:
    """What may follow each first letter; letters that would complete a tag are left out."""
    following: dict[str, list[str]] = {}
    for tail in tails:
        if len(tail) > 1:
            following.setdefault(tail[0], []).append(tail[1:])
    return following


def _cut(tails: Sequence[str]) -> str:
    """The beginning of a tail, perhaps none of it, never all."""
    branches = "|".join(letter + _cut(rest) for letter, rest in _next(tails).items())
    return f"(?:{branches})?" if branches else ""


def _left(tails: Sequence[str]) -> str:
    """The beginning of a tail, and a letter with which no tail goes on."""
    others = "[^<" + "".join(sorted({tail[0] for tail in tails})) + "]"
    branches = [letter + _left(rest) for letter, rest in _next(tails).items()]
    return f"(?:{'|'.join([others, *branches])})" if branches else others
