"""A panel of the dashboards, and the queries that panels share. `build.py` makes Grafana's JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# Mean thinking tokens of arXiv 2604.02040: before (Seg-Zero) and with WISE-S.
PAPER_SEG_ZERO: Final = 112
PAPER_WISE_S: Final = 23
BY_STRATEGY: Final = '{strategy=~"$strategy"}'


@dataclass(frozen=True, slots=True)
class Panel:
    """queries: (legend, PromQL). kind: Grafana's panel type. width: of 24 columns."""

    title: str
    text: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    stacked: bool = False


def quantiles(metric: str) -> list[tuple[str, str]]:
    """Legends and queries of a histogram's p50 and p95 for each strategy."""
    rate = f"sum by (strategy, le) (rate({metric}_bucket{BY_STRATEGY}[$__rate_interval]))"
    return [
        (f"p{share:.0f} {{{{strategy}}}}", f"histogram_quantile({share / 100}, {rate})")
        for share in (50, 95)
    ]


def buckets(metric: str) -> list[tuple[str, str]]:
    """Legend and query of a histogram's buckets, for a heat map."""
    return [("{{le}}", f"sum by (le) (increase({metric}_bucket{BY_STRATEGY}[$__rate_interval]))")]


def mean(metric: str, by: str, selector: str = "") -> str:
    """Query for the mean of a histogram, by the label `by`."""
    return (
        f"sum by ({by}) (rate({metric}_sum{selector}[$__rate_interval])) / "
        f"sum by ({by}) (rate({metric}_count{selector}[$__rate_interval]))"
    )


def per_second(metric: str, by: str, selector: str = "") -> str:
    """Query for the rate of a counter, per second, by the label `by`."""
    return f"sum by ({by}) (rate({metric}{selector}[$__rate_interval]))"
