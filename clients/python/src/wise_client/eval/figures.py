"""The figures of the page, drawn by matplotlib as inline SVG."""

import io
import math
from collections.abc import Sequence
from typing import Any

from wise_client import extras
from wise_client.eval import frontier
from wise_client.eval.runner import StrategyRun
from wise_client.eval.scores import Summary

# Okabe and Ito's colours that read well on white, for colour-blind readers too.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#000000")
_WIDTH_INCHES, _ROW_INCHES, _PLOT_INCHES = 8.0, 1.1, 3.6
_MOST_BINS = 40
_MARKS = "osD^vP"  # one per strategy, so that more strategies than colours can be distinguished
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def distributions(tokens: Sequence[tuple[str, Sequence[int]]]) -> str:
    """(strategy, thinking tokens of each answer) -> histograms on one axis, a row a strategy.

    The paper's figure 4: how long the rationales are. The mean is marked. Raises InputError where
    matplotlib is not installed.
    """
    matplotlib = extras.matplotlib()
    rows = max(1, len(tokens))
    size = (_WIDTH_INCHES, _ROW_INCHES * rows + 0.6)
    figure = matplotlib.figure.Figure(size, layout="constrained")
    edges = bin_edges(max((max(values, default=0) for _, values in tokens), default=0))
    axes = figure.subplots(rows, sharex=True, squeeze=False)[:, 0]
    for row, (strategy, values) in enumerate(tokens):
        own = axes[row]
        own.hist(values, bins=edges, color=COLOURS[row % len(COLOURS)])
        own.set_ylabel(strategy, rotation=0, ha="right", va="center")
        own.yaxis.get_major_locator().set_params(integer=True, nbins=3)
        if values:
            mean = sum(values) / len(values)
            own.axvline(mean, color="black", linestyle="--", linewidth=1)
            own.set_title(f"mean {mean:.1f}", loc="right", fontsize="medium")
    axes[-1].set_xlabel("thinking tokens")
    axes[-1].set_xlim(0, edges[-1])
    return _svg(figure, "Distribution of thinking tokens per strategy")


def accuracy_against_cost(summaries: Sequence[Summary]) -> str:
    """Mean thinking tokens across, gIoU (full marks) and cIoU (rings) upwards: figure 1.

    Raises InputError where matplotlib is not installed.
    """
    matplotlib = extras.matplotlib()
    size = (_WIDTH_INCHES, _PLOT_INCHES)
    figure = matplotlib.figure.Figure(size, layout="constrained")
    axes = figure.subplots()
    for i, one in enumerate(summaries):
        tokens, colour = one.thinking_tokens_mean, COLOURS[i % len(COLOURS)]
        for name, value, fill in (("cIoU", one.ciou, "none"), ("gIoU", one.giou, colour)):
            if tokens is not None and value is not None:
                mark = axes.scatter(tokens, 100 * value, s=60, facecolors=fill, edgecolors=colour)
                mark.set_gid(f"{name} {one.strategy}")
        if tokens is not None and one.giou is not None:
            # Names of neighbours would overlap, so they alternate above and below.
            place = (0, 9 if i % 2 == 0 else -16)
            spot = (tokens, 100 * one.giou)
            axes.annotate(one.strategy, spot, place, textcoords="offset points", ha="center")
    axes.margins(x=0.1)
    axes.set(xlabel="thinking tokens, mean", ylabel="IoU, %  (● gIoU, ○ cIoU)", ylim=(0, 105))
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    return _svg(figure, "Accuracy against thinking tokens")


def choice(runs: Sequence[StrategyRun]) -> str:
    """gIoU against completion tokens and against latency, side by side. The strategies on the
    Pareto front are filled and joined by a line; a star marks the best for its tokens.

    Raises InputError where matplotlib is not installed.
    """
    matplotlib = extras.matplotlib()
    figure = matplotlib.figure.Figure((_WIDTH_INCHES, _PLOT_INCHES + 0.4), layout="constrained")
    panels = figure.subplots(1, len(frontier.COSTS), sharey=True)
    verdict = frontier.verdict(runs)
    best = verdict.best if verdict else None
    for axes, (cost, label) in zip(panels, frontier.COSTS.items(), strict=True):
        _against(axes, runs, cost, best)
        axes.set_xlabel(label)
        axes.margins(x=0.2, y=0.35)
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("gIoU, %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.suptitle("filled: on the Pareto front    ★ best for its tokens", fontsize="medium")
    return _svg(figure, "Accuracy against completion tokens and against latency")


def _against(axes: Any, runs: Sequence[StrategyRun], cost: str, best: str | None) -> None:
    """One panel: a mark for each strategy, and the front as a line."""
    ahead = frontier.front(runs, cost)
    line = []
    for i, run in enumerate(runs):
        price, giou = getattr(run.summary, cost), run.summary.giou
        if price is None or giou is None:
            continue
        spot, colour = (price, 100 * giou), COLOURS[i % len(COLOURS)]
        on_front, is_best = run.strategy in ahead, run.strategy == best
        mark = axes.scatter(
            *spot,
            s=180 if is_best else 60,
            marker="*" if is_best else _MARKS[i // len(COLOURS) % len(_MARKS)],
            facecolors=colour if on_front else "none",
            edgecolors=colour,
            label=run.strategy,
            zorder=3,
        )
        mark.set_gid(f"{cost} {run.strategy}{' front' if on_front else ''}")
        line += [spot] if on_front else []
    if line:
        axes.plot(*zip(*sorted(line), strict=True), color="grey", linewidth=1)


def bin_edges(highest: int) -> list[int]:
    """Borders of at most 40 bins of whole tokens; the last lies above `highest`."""
    width = max(1, math.ceil((highest + 1) / _MOST_BINS))
    return [width * i for i in range((highest // width) + 2)]


def _svg(figure: Any, label: str) -> str:
    """The figure for a page: text stays text, nothing is loaded from elsewhere, and there is no
    date."""
    out = io.StringIO()
    with extras.matplotlib().rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        figure.savefig(out, format="svg", metadata=_NO_METADATA)
    drawn = out.getvalue()
    start = drawn.index("<svg ") + len("<svg ")
    return f'<svg role="img" aria-label="{label}" {drawn[start:]}'
