"""The run as one JSON document."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from wise_client.eval import frontier
from wise_client.eval.runner import StrategyRun
from wise_client.eval.samples import Dataset
from wise_client.version import __version__


def document(dataset: Dataset, runs: Sequence[StrategyRun]) -> dict[str, Any]:
    """JSON-ready: the figures, the models that answered, every pair's score, every failure; of
    several strategies also which is best for its tokens, and which are on the Pareto fronts."""
    verdict = frontier.verdict(runs)
    fronts = {cost: sorted(frontier.front(runs, cost)) for cost in frontier.COSTS}
    return {
        "wise_client": __version__,
        "dataset": {"name": dataset.name, "format": dataset.format, "samples": len(dataset)},
        "strategies": [_strategy(run) for run in runs],
        "verdict": asdict(verdict) | {"fronts": fronts} if verdict else None,
    }


def _strategy(run: StrategyRun) -> dict[str, Any]:
    return {
        **asdict(run.summary),
        "models": [
            {"reasoner": reasoner, "segmenter": segmenter}
            for reasoner, segmenter in sorted(run.models)
        ],
        "scores": [asdict(one) for one in run.scored],
        "failures": [
            {
                "index": one.index,
                "name": one.name,
                "code": one.error.code,
                "detail": one.error.detail,
            }
            for one in run.failures
        ],
    }
