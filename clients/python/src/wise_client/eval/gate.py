"""`--fail-below`: limits that a run must meet, for deployment pipelines.

    limits = limit {"," limit}
    limit  = figure operator number ["%"]
    operator = ">=" | ">" | "<=" | "<" | "="

`gIoU=0.6,tokens<30` asks for a gIoU of at least 0.6 and fewer than 30 thinking tokens on average.
"=" is "at least" for figures that should be high, and "at most" for those that should be low.
IoUs and rates are fractions: 0.6 and 60% are the same. Every strategy of the run must meet every
limit; a missing figure does not meet it.
"""

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wise_client.errors import InputError
from wise_client.eval.scores import Summary

# The name in a limit -> the figure, and whether it should be high.
FIGURES: dict[str, tuple[str, bool]] = {
    "gIoU": ("giou", True),
    "cIoU": ("ciou", True),
    "tokens": ("thinking_tokens_mean", False),
    "tokens_p95": ("thinking_tokens_p95", False),
    "completion_tokens": ("completion_tokens_mean", False),
    "unparsed": ("unparsed_rate", False),
    "truncated": ("truncated_rate", False),
    "no_target": ("no_target_rate", False),
    "latency_ms": ("latency_mean_ms", False),
    "latency_p95_ms": ("latency_p95_ms", False),
    "throughput": ("throughput_per_s", True),
}
_FRACTIONS = {"gIoU", "cIoU", "unparsed", "truncated", "no_target"}
_LIMIT = re.compile(r"\s*(\w+)\s*(>=|<=|>|<|=)\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}


@dataclass(frozen=True)
class Limit:
    """`sign` is one of >=, >, <=, <; `bound` a fraction, tokens, milliseconds or answers/s."""

    name: str
    sign: str
    bound: float

    def kept(self, summary: Summary) -> bool:
        """Whether the figure exists and is within the limit."""
        value = self.value(summary)
        return value is not None and _COMPARE[self.sign](value, self.bound)

    def value(self, summary: Summary) -> float | None:
        """The figure of the limit; None if the run does not have it."""
        value: float | None = getattr(summary, FIGURES[self.name][0])
        return value


def limits(text: str) -> tuple[Limit, ...]:
    """Read limits separated by commas. Raises InputError for text that does not follow the grammar
    above."""
    return tuple(_limit(part) for part in text.split(","))


def broken(asked: Sequence[Limit], summaries: Sequence[Summary]) -> list[str]:
    """One sentence per limit that is not met."""
    return [
        f"{summary.strategy}: {limit.name} is {_text(limit.value(summary))}, "
        f"not {limit.sign} {limit.bound:g}"
        for summary in summaries
        for limit in asked
        if not limit.kept(summary)
    ]


def _limit(text: str) -> Limit:
    match = _LIMIT.fullmatch(text)
    if match is None:
        raise InputError(f"{text.strip()!r} is not a limit such as gIoU=0.6 or tokens<30")
    given, sign, number, percent = match.groups()
    name = {known.lower(): known for known in FIGURES}.get(given.lower())
    if name is None:
        raise InputError(f"There is no figure {given}; there are {', '.join(FIGURES)}")
    if percent and name not in _FRACTIONS:
        raise InputError(f"{name} is not a fraction; give it without %")
    bound = float(number) / (100 if percent else 1)
    if name in _FRACTIONS and bound > 1:
        raise InputError(f"{name} is a fraction: {number}% or {float(number) / 100:g}")
    if sign == "=":
        sign = ">=" if FIGURES[name][1] else "<="
    return Limit(name, sign, bound)


def _text(value: float | None) -> str:
    return "not known" if value is None else f"{value:.4g}"
