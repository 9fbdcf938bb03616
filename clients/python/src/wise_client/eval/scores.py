"""Scores of one answer, and figures of a whole run.

- A request's mask is the union of its instances; pixels that the truth ignores are left out.
- gIoU is the mean of the answers' IoU, cIoU is all intersections over all unions.
- An answer that is unparsed or truncated has intersection 0 and union = area of the truth.
- Where nothing is meant and nothing is found, IoU is 1, and nothing is added to cIoU's sums; an
  unparsed answer is not "nothing found", its IoU is 0. (The public scripts leave such samples out;
  their datasets have none.)
- A pair that failed (a refusal, a lost connection, a truth of another size) has no score; it is
  counted as failed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wise_client.errors import UnexpectedAnswerError
from wise_client.eval.samples import Truth
from wise_client.masks import BoolMask
from wise_client.results import Segmentation

_NO_ANSWER = ("unparsed", "truncated")


@dataclass(frozen=True)
class Scored:
    """One answer with its score. Areas in pixels; `latency_ms` is the server's total."""

    index: int
    name: str
    query: str
    status: str
    intersection: int
    union: int
    iou: float
    thinking_tokens: int
    completion_tokens: int
    latency_ms: float
    reasoning: str


@dataclass(frozen=True)
class Summary:
    """One strategy's figures, as fractions, tokens and milliseconds; None where there are none.

    `throughput_per_s` counts the answers of this run over its time; answers read from an earlier
    run's output count in neither.
    """

    strategy: str
    answered: int
    failed: int
    giou: float | None
    ciou: float | None
    thinking_tokens_mean: float | None
    thinking_tokens_median: float | None
    thinking_tokens_p95: float | None
    completion_tokens_mean: float | None
    completion_tokens_median: float | None
    completion_tokens_p95: float | None
    unparsed_rate: float | None
    truncated_rate: float | None
    no_target_rate: float | None
    latency_mean_ms: float | None
    latency_median_ms: float | None
    latency_p95_ms: float | None
    throughput_per_s: float | None


def areas(answer: BoolMask, truth: Truth) -> tuple[int, int]:
    """(intersection, union) in pixels, the ignored ones left out."""
    both, either = answer & truth.mask, answer | truth.mask
    if truth.ignore is not None:
        both, either = both & ~truth.ignore, either & ~truth.ignore
    return int(np.count_nonzero(both)), int(np.count_nonzero(either))


def score(index: int, name: str, result: Segmentation, truth: Truth) -> Scored:
    """Raises UnexpectedAnswerError when a mask of the answer cannot be decoded."""
    if truth.mask.shape != result.mask.shape:
        raise UnexpectedAnswerError(f"{name}: the truth is not of the answer's size")
    answered = result.status not in _NO_ANSWER
    answer = result.mask if answered else np.zeros_like(result.mask)
    intersection, union = areas(answer, truth)
    return Scored(
        index=index,
        name=name,
        query=result.query,
        status=result.status,
        intersection=intersection,
        union=union,
        iou=intersection / union if union else float(answered),
        thinking_tokens=result.usage.thinking_tokens,
        completion_tokens=result.usage.completion_tokens,
        latency_ms=result.timing.total_ms,
        reasoning=result.reasoning,
    )


def summarise(
    strategy: str, scored: Sequence[Scored], failed: int, throughput_per_s: float | None
) -> Summary:
    """The figures of one strategy."""
    union = sum(one.union for one in scored)
    ciou = sum(one.intersection for one in scored) / union if union else None
    thinking = _spread([one.thinking_tokens for one in scored])
    completion = _spread([one.completion_tokens for one in scored])
    latency = _spread([one.latency_ms for one in scored])
    return Summary(
        strategy,
        len(scored),
        failed,
        float(np.mean([one.iou for one in scored])) if scored else None,
        ciou,
        *thinking,
        *completion,
        _share(scored, "unparsed"),
        _share(scored, "truncated"),
        _share(scored, "no_target"),
        *latency,
        throughput_per_s,
    )


def _spread(
    values: Sequence[float],
) -> tuple[float | None, float | None, float | None]:
    """Mean, median, 95th percentile (numpy's linear interpolation)."""
    if not values:
        return None, None, None
    return float(np.mean(values)), float(np.median(values)), float(np.percentile(values, 95))


def _share(scored: Sequence[Scored], status: str) -> float | None:
    return sum(one.status == status for one in scored) / len(scored) if scored else None
