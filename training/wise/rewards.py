"""WISE's rewards for one response, as pure functions (arXiv 2604.02040, section 3).

After the public code, `verl/utils/reward_score/seg_restrict.py` of github.com/mrazhou/WISE: two for
the format, three for the answer, and one for distillation, which is what makes a model think short.
Its distances are in pixels of an 840 x 840 image; here they scale with the reasoner's square.
Two deliberate differences: a rationale is what stands between its tags, where the public code also
embeds and counts the tags themselves, which would outweigh a rationale of a few words; and a
repeated sentence is checked for (the public code of this family does so elsewhere).
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TypeGuard

REFERENCE_IMAGE_SIZE = 840  # pixels; the published thresholds are in this square
BOX_L1_PIXELS, POINT_L1_PIXELS = 10.0, 100.0
CORRECT_IOU = 0.5
# Copied out of the prompt, these earn nothing at all.
TEMPLATES = ("streamlined thinking process here", "detailed thinking process here")
FORM = re.compile(
    r"<think>(?P<first>.*?)</think>\s*<answer>(?P<answer>.*?)</answer>\s*"
    r"<d_think>(?P<second>.*?)</d_think>",
    re.DOTALL,
)
ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)

Numbers = Sequence[float]
Similarity = Callable[[str, str], float]  # of two texts, -1 to 1
TokenCount = Callable[[str], int]


@dataclass(frozen=True)
class Truth:
    """What was asked for, in pixels of the reasoner's square of `image_size` a side.

    box: [x1, y1, x2, y2]. points: the centres of its two largest inscribed circles, [x, y] each.
    """

    box: Numbers
    points: tuple[Numbers, Numbers]
    image_size: int


@dataclass(frozen=True)
class Answer:
    """A read answer, in the same pixels."""

    box: Numbers
    points: tuple[Numbers, Numbers]


@dataclass(frozen=True)
class Rewards:
    """Each 0 to 1; `distillation` can fall below 0 with an embedding's cosine."""

    thinking_format: float = 0.0
    answer_format: float = 0.0
    iou: float = 0.0
    box_l1: float = 0.0
    point_l1: float = 0.0
    no_repetition: float = 0.0
    distillation: float = 0.0

    @property
    def total(self) -> float:
        """Their sum, which is what a policy is trained on."""
        return float(sum(asdict(self).values()))


def read_answer(text: str) -> Answer | None:
    """The answer of a response, or None unless it has exactly the form that was asked for."""
    found = ANSWER.search(text)
    if found is None:
        return None
    try:
        read = json.loads(found[1])
    except ValueError:
        return None
    if not isinstance(read, dict):
        return None
    box, one, two = (read.get(key) for key in ("bbox", "points_1", "points_2"))
    if _numbers(box, 4) and _numbers(one, 2) and _numbers(two, 2):
        return Answer(box, (one, two))
    return None


def _numbers(value: object, count: int) -> TypeGuard[list[float]]:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(type(v) in (int, float) and math.isfinite(v) for v in value)
    )


def box_iou(one: Numbers, two: Numbers) -> float:
    """Intersection over union of boxes of whole pixels: [0, 0, 9, 9] covers 100 of them."""
    width = min(one[2], two[2]) - max(one[0], two[0])
    height = min(one[3], two[3]) - max(one[1], two[1])
    both = (width + 1) * (height + 1) if width > 0 and height > 0 else 0.0
    areas = ((b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (one, two))
    union = sum(areas) - both
    return both / union if union > 0 else 0.0


def box_l1_reward(answer: Answer, truth: Truth) -> float:
    """1 if the four sides are off by less than 10 pixels (of 840) on average."""
    off = sum(abs(a - b) for a, b in zip(answer.box, truth.box, strict=True)) / 4
    return float(off < BOX_L1_PIXELS * truth.image_size / REFERENCE_IMAGE_SIZE)


def point_l1_reward(answer: Answer, truth: Truth) -> float:
    """1 if both points lie in the answer's own box and, paired the better way, are off by less than
    100 pixels (of 840) on average."""
    x1, y1, x2, y2 = answer.box
    if not all(x1 <= x <= x2 and y1 <= y <= y2 for x, y in answer.points):
        return 0.0
    (a, b), (c, d) = answer.points, truth.points
    off = min(math.dist(a, c) + math.dist(b, d), math.dist(a, d) + math.dist(b, c)) / 2
    return float(off < POINT_L1_PIXELS * truth.image_size / REFERENCE_IMAGE_SIZE)


def no_repetition_reward(rationales: Sequence[str]) -> float:
    """1 if no rationale says the same sentence twice."""
    for rationale in rationales:
        sentences = [s.strip() for s in rationale.lower().split(".") if s.strip()]
        if len(set(sentences)) < len(sentences):
            return 0.0
    return 1.0


def distillation_reward(
    concise: str, detailed: str, similarity: Similarity, count_tokens: TokenCount
) -> float:
    """How well the concise rationale sums up the detailed one, times how much shorter it is:
    cosine similarity of their embeddings x max(0, 1 - concise tokens / detailed tokens)."""
    if not concise.strip() or not detailed.strip():
        return 0.0
    saved = 1.0 - count_tokens(concise) / count_tokens(detailed)
    return similarity(concise, detailed) * saved if saved > 0 else 0.0


def score(
    text: str,
    truth: Truth,
    similarity: Similarity | None,
    count_tokens: TokenCount,
    *,
    detailed_first: bool = False,
) -> Rewards:
    """All rewards of a response. `similarity` None: no distillation (the paper's ablation).
    `detailed_first`: the rationale before the answer is the detailed one, the one after it concise.
    """
    if any(template in text for template in TEMPLATES):
        return Rewards()
    form, answer = FORM.fullmatch(text), read_answer(text)
    rationales = (form["first"], form["second"]) if form else ()
    iou = box_iou(answer.box, truth.box) if answer else 0.0
    distillation = 0.0
    if similarity is not None and rationales and iou > CORRECT_IOU:
        concise, detailed = reversed(rationales) if detailed_first else rationales
        distillation = distillation_reward(concise, detailed, similarity, count_tokens)
    return Rewards(
        thinking_format=float(form is not None),
        answer_format=float(answer is not None),
        iou=iou,
        box_l1=box_l1_reward(answer, truth) if answer else 0.0,
        point_l1=point_l1_reward(answer, truth) if answer else 0.0,
        no_repetition=no_repetition_reward(rationales) if rationales else 0.0,
        distillation=distillation,
    )
