"""The four strategies: what each checkpoint was trained to read, and how its numbers are read.

A strategy is a prompt template, an answer format and a token limit. The exact strings are data
(`strategies.json`); what is code here is how the public code of WISE (arXiv 2604.02040), Seg-Zero
and VisionReasoner fills and reads them.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final, get_args

from wise_serve.contract.names import StrategyName
from wise_serve.reasoner.reading.keys import USUAL_KEYS, Keys

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"
D_THINK_OPEN = "<d_think>"  # the detailed explanation after the answer, which serving never needs

Rounding = Callable[[float], int]

MAX_TOKENS: Final[dict[StrategyName, int]] = {
    "wise-s": 256,
    "wise": 512,
    "seg-zero": 1024,
    "vision-reasoner": 2048,
}
MAX_POINTS: Final[dict[StrategyName, int]] = {
    "wise-s": 2,
    "wise": 2,
    "seg-zero": 2,
    "vision-reasoner": 1,
}


def _half_up(value: float) -> int:
    return int(value + 0.5)


@dataclass(frozen=True, slots=True)
class Strategy:
    """How to ask one kind of checkpoint, and how to read its answer.

    before, after: the prompt's text around the question.
    example: the answer that the prompt shows, the form the checkpoint writes.
    strip: characters taken off both ends of the lower-cased query.
    image_size: side of the square the public checkpoints were trained with, pixels.
    max_tokens: limit of one generation, tokens.
    max_points: points read for one box; the reference reads no more.
    round: from a coordinate scaled to the original image to whole pixels.
    keys: its names of boxes and points, where they are not among those that are always understood.
    """

    name: StrategyName
    before: str
    after: str
    example: str
    strip: str
    image_size: int
    max_tokens: int
    max_points: int
    round: Rounding
    keys: Keys = USUAL_KEYS

    def question(self, query: str) -> str:
        """The query as it stands in the prompt: lower-cased, outer `strip` characters removed.

        May be empty, and may hold a special token that the raw query did not (lower-casing can
        make one): check this text, not only the query.
        """
        return query.lower().strip(self.strip)

    def prompt(self, query: str) -> str:
        """The user turn's text. The query is put in once and never read as a template."""
        return self.before + self.question(query) + self.after


def _load(name: StrategyName, record: dict[str, Any]) -> Strategy:
    before, after = record["template"].replace("{answer}", record["answer"]).split("{question}")
    return Strategy(
        name=name,
        before=before,
        after=after,
        example=record["answer"],
        strip=record["strip"],
        image_size=record["image_size"],
        max_tokens=MAX_TOKENS[name],
        max_points=MAX_POINTS[name],
        round=_half_up if name == "vision-reasoner" else round,
    )


def _load_all() -> dict[StrategyName, Strategy]:
    text = resources.files(__package__).joinpath("strategies.json").read_text(encoding="utf-8")
    records = json.loads(text)
    return {name: _load(name, records[name]) for name in get_args(StrategyName)}


STRATEGIES: Final[dict[StrategyName, Strategy]] = _load_all()
