"""Compares several strategies: which are on the Pareto front, and which is best for its tokens.

A strategy is on the Pareto front of a cost if no other one is at least as accurate and as cheap,
and better in one of the two. The best for its tokens is the one of the fewest completion tokens
among those that are as accurate as the most accurate one, by the one-standard-error rule (Breiman,
Friedman, Olshen and Stone, Classification and Regression Trees, 1984): its mean IoU lies lower by
at most the standard error of the difference on the same samples. So a difference that is not
significant on so few samples does not decide the verdict.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wise_client.eval.runner import StrategyRun

TOKENS, LATENCY = "completion_tokens_mean", "latency_mean_ms"
COSTS: Mapping[str, str] = {TOKENS: "completion tokens, mean", LATENCY: "latency, mean, ms"}
"""Figures of a summary that are a cost, and how a reader calls them."""


@dataclass(frozen=True)
class Verdict:
    """best: of the fewest tokens among those as accurate as `highest`, the one of the highest gIoU.
    behind: how far its mean IoU lies lower on the samples that both answered, a fraction; error:
    the standard error of that."""

    best: str
    highest: str
    behind: float
    error: float
    samples: int

    def sentence(self, runs: Sequence[StrategyRun]) -> str:
        """The verdict for a reader."""
        figures = {run.strategy: run.summary for run in runs}
        one, other = figures[self.best], figures[self.highest]
        told = (
            f"Best for its tokens: {self.best}, gIoU {100 * (one.giou or 0):.1f} % for "
            f"{one.completion_tokens_mean or 0:.1f} completion tokens."
        )
        if self.best == self.highest:
            return f"{told} No other one is as accurate for fewer."
        return (
            f"{told} {self.highest} has {100 * (other.giou or 0):.1f} % for "
            f"{other.completion_tokens_mean or 0:.1f}; the difference, {100 * self.behind:.1f} "
            f"points, is within one standard error ({100 * self.error:.1f}) on {self.samples} "
            "samples."
        )


def front(runs: Sequence[StrategyRun], cost: str) -> frozenset[str]:
    """The strategies on the Pareto front of gIoU against `cost`, one of COSTS."""
    points = {
        run.strategy: (giou, price)
        for run in runs
        if (giou := run.summary.giou) is not None
        and (price := getattr(run.summary, cost)) is not None
    }
    return frozenset(
        name
        for name, (giou, price) in points.items()
        if not any(
            other >= giou and less <= price and (other, less) != (giou, price)
            for other, less in points.values()
        )
    )


def verdict(runs: Sequence[StrategyRun]) -> Verdict | None:
    """Which strategy is best for its tokens; None if fewer than two have answers."""
    scored = [run for run in runs if run.scored]
    if len(scored) < 2:
        return None
    highest = max(scored, key=lambda run: (run.summary.giou or 0, -_tokens(run)))
    compared = [(run, *_behind(run, highest)) for run in scored]
    equal = [one for one in compared if one[1] <= one[2]]
    best, behind, error, samples = min(equal, key=lambda one: (_tokens(one[0]), one[1]))
    return Verdict(best.strategy, highest.strategy, behind, error, samples)


def _tokens(run: StrategyRun) -> float:
    return run.summary.completion_tokens_mean or 0.0


def _behind(run: StrategyRun, highest: StrategyRun) -> tuple[float, float, int]:
    """How much lower `run` is on the samples of both, the standard error of that difference, and
    the number of these samples. Without a common sample the difference is infinite."""
    own = {one.index: one.iou for one in run.scored}
    lower = [one.iou - own[one.index] for one in highest.scored if one.index in own]
    if not lower:
        return math.inf, 0.0, 0
    mean = sum(lower) / len(lower)
    squares = sum((one - mean) ** 2 for one in lower)
    error = math.sqrt(squares / (len(lower) - 1) / len(lower)) if len(lower) > 1 else 0.0
    return mean, error, len(lower)
