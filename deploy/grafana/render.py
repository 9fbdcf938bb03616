"""Draws a picture of what the token dashboard shows, from the data of a Prometheus.

`make dashboard-picture` (benchmarks/dashboard_picture.py) starts a server and a Prometheus for it.
"""

import argparse
import json
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

PICTURE: Final = Path(__file__).parents[2] / "docs" / "tokens-dashboard.png"
PAPER_LINES: Final = {"Seg-Zero in the paper: 112": 112, "WISE-S in the paper: 23": 23}
FIRST: Final[tuple[str, ...]] = ("wise-s", "wise", "seg-zero", "vision-reasoner")
PARTS: Final = ("thinking", "answer", "completion")
_TIMEOUT_S: Final = 10.0

Series = dict[str, float]


def query(prometheus: str, expression: str, label: str) -> Series:
    """The values of an instant query, by one of their labels. Raises OSError, ValueError."""
    url = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:
        answer: dict[str, Any] = json.load(response)
    found = {
        item["metric"].get(label, ""): float(item["value"][1]) for item in answer["data"]["result"]
    }
    return {name: value for name, value in found.items() if value == value}  # without NaN


def quantile(prometheus: str, part: str, share: float) -> Series:
    """A quantile (`share`: 0 to 1) of a histogram of tokens, by strategy."""
    buckets = f"sum by (strategy, le) (wise_{part}_tokens_bucket)"
    return query(prometheus, f"histogram_quantile({share}, {buckets})", "strategy")


def mean(prometheus: str, part: str) -> Series:
    """The mean of a histogram of tokens, by strategy."""
    name = f"wise_{part}_tokens"
    return query(
        prometheus, f"sum by (strategy) ({name}_sum) / sum by (strategy) ({name}_count)", "strategy"
    )


def distribution(prometheus: str, strategy: str) -> Mapping[float, float]:
    """Share of answers (0 to 1) with at most so many thinking tokens, by number of tokens."""
    selector = f'{{strategy="{strategy}"}}'
    buckets = query(prometheus, f"sum by (le) (wise_thinking_tokens_bucket{selector})", "le")
    total = buckets.get("+Inf", 0.0)
    if not total:
        return {}
    edges = sorted((float(edge), count / total) for edge, count in buckets.items())
    return dict(edges[:-1])


def _draw_quantiles(axes: Axes, prometheus: str, strategies: list[str]) -> None:
    colours = matplotlib.colormaps["tab10"]
    for offset, part in enumerate(PARTS):
        middle, high = quantile(prometheus, part, 0.5), quantile(prometheus, part, 0.95)
        places = [index + (offset - 1) * 0.26 for index in range(len(strategies))]
        colour = colours(offset)
        heights = [high.get(name, 0.0) for name in strategies]
        axes.bar(places, heights, 0.24, color=colour, alpha=0.35, label=f"{part}, p95")
        halves = [middle.get(name, 0.0) for name in strategies]
        axes.bar(places, halves, 0.24, color=colour, label=f"{part}, p50")
    axes.set_xticks(range(len(strategies)), strategies)
    axes.set_ylabel("tokens a request")
    axes.set_title("Thinking, answer and completion tokens")


def _draw_means(axes: Axes, prometheus: str, strategies: list[str]) -> None:
    means = mean(prometheus, "thinking")
    values = [means.get(name, 0.0) for name in strategies]
    bars = axes.bar(strategies, values, 0.6)
    axes.bar_label(bars, [f"{value:.1f}" for value in values])
    axes.set_ylabel("mean thinking tokens")
    axes.set_title("Mean thinking tokens")


def _draw_distributions(axes: Axes, prometheus: str, strategies: list[str]) -> None:
    for name in strategies:
        shares = distribution(prometheus, name)
        axes.step(list(shares), list(shares.values()), where="post", label=name)
    axes.set_xlim(0, 200)
    axes.set_xlabel("thinking tokens")
    axes.set_ylabel("share of answers with at most so many")
    axes.set_title("Distribution of thinking tokens")
    axes.legend(fontsize=8, loc="lower right")


def _draw_savings(axes: Axes, prometheus: str, strategies: list[str]) -> None:
    means = mean(prometheus, "thinking")
    served = means.get("seg-zero")
    others = [name for name in strategies if name != "seg-zero"]
    values = [112 - means.get(name, 112.0) for name in others]
    places = range(len(others))
    axes.bar([place - 0.2 for place in places], values, 0.38, label="against the paper's 112")
    if served is not None:
        against = [served - means.get(name, served) for name in others]
        label = f"against seg-zero served here ({served:.0f})"
        axes.bar([place + 0.2 for place in places], against, 0.38, label=label)
    axes.set_xticks(places, others)
    cached = query(
        prometheus, "sum(wise_cached_prompt_tokens_total) / sum(wise_prompt_tokens_total)", ""
    )
    axes.set_title(f"Thinking tokens saved; prompt-cache share {cached.get('', 0.0):.0%}")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.legend(fontsize=8)


def render(prometheus: str, picture: Path, subject: str) -> None:
    """Write the picture. Raises ValueError if the Prometheus has no answers."""
    present = mean(prometheus, "thinking")
    strategies = [name for name in FIRST if name in present]
    strategies += sorted(set(present) - set(FIRST))
    if not strategies:
        raise ValueError("The Prometheus has no thinking tokens yet; send requests first.")
    figure, axes = pyplot.subplots(2, 2, figsize=(12, 8), layout="constrained")
    count = sum(query(prometheus, "sum(wise_thinking_tokens_count)", "").values())
    figure.suptitle(f"Tokens per request: {subject}, {count:.0f} answers")
    for draw, place in zip(
        (_draw_quantiles, _draw_means, _draw_distributions, _draw_savings), axes.flat, strict=True
    ):
        draw(place, prometheus, strategies)
    for place in axes.flat[:2]:
        for label, tokens in PAPER_LINES.items():
            place.axhline(tokens, linestyle="--", linewidth=1, color="grey")
            place.annotate(label, (0.99, tokens), xycoords=("axes fraction", "data"),
                           ha="right", va="bottom", fontsize=7, color="grey")  # fmt: skip
        place.legend(fontsize=8) if place.get_legend_handles_labels()[0] else None
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("prometheus", help="its address, such as http://127.0.0.1:9090")
    parser.add_argument("--subject", default="a running server", help="named in the title")
    parser.add_argument("--output", type=Path, default=PICTURE)
    args = parser.parse_args()
    render(args.prometheus, args.output, args.subject)
    print(args.output)


if __name__ == "__main__":
    main()
