"""The two figures of the page, as inline SVG."""

import math
from collections.abc import Sequence
from html import escape

from wise_client.eval.scores import Summary

# Okabe and Ito's colours that read well on white and on black.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
_WIDTH, _LEFT, _RIGHT, _BINS = 720, 130, 24, 40
_ROW, _PLOT = 78, 320


def distributions(tokens: Sequence[tuple[str, Sequence[int]]]) -> str:
    """(strategy, thinking tokens of each answer) -> histograms on one axis, a row a strategy.

    The paper's figure 4: how long the rationales are. Bars go by the tallest of their own row;
    the mean is marked.
    """
    highest = max((max(values, default=0) for _, values in tokens), default=0)
    ticks = nice_ticks(highest)
    bin_tokens = max(1, math.ceil(ticks[-1] / _BINS))
    bottom = _ROW * len(tokens) + 8
    parts = [_x_axis(ticks, bottom, 8, "thinking tokens")]
    for row, (strategy, values) in enumerate(tokens):
        base = _ROW * (row + 1)
        colour = COLOURS[row % len(COLOURS)]
        parts.append(_text(_LEFT - 10, base - 8, strategy, "end"))
        parts.append(_histogram(values, bin_tokens, ticks[-1], base, colour))
        parts.append(f'<path class="axis" d="M{_LEFT} {base}H{_WIDTH - _RIGHT}"/>')
        if values:
            mean = sum(values) / len(values)
            x = _x(mean, ticks[-1])
            parts.append(f'<path class="mean" d="M{x:.1f} {base}v{12 - _ROW}"/>')
            parts.append(_text(x + 4, base - _ROW + 22, f"mean {mean:.1f}"))
    return _svg(bottom + 44, parts, "Distribution of thinking tokens per strategy")


def accuracy_against_cost(summaries: Sequence[Summary]) -> str:
    """Mean thinking tokens across, gIoU (full marks) and cIoU (rings) upwards: figure 1."""
    drawn = [(i, one) for i, one in enumerate(summaries) if one.thinking_tokens_mean is not None]
    ticks = nice_ticks(max((one.thinking_tokens_mean or 0 for _, one in drawn), default=0))
    bottom, top = _PLOT - 20, 16
    parts = [_x_axis(ticks, bottom, top, "thinking tokens, mean")]
    for percent in range(0, 101, 20):
        y = bottom - (bottom - top) * percent / 100
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(_text(_LEFT - 10, y + 4, f"{percent} %", "end"))
    parts.append(_text(_WIDTH - _RIGHT - 6, top + 16, "gIoU ●  cIoU ○", "end"))
    for i, one in drawn:
        colour = COLOURS[i % len(COLOURS)]
        x = _x(one.thinking_tokens_mean or 0, ticks[-1])
        for value, fill in ((one.ciou, "none"), (one.giou, colour)):
            if value is not None:
                y = bottom - (bottom - top) * value
                parts.append(
                    f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{fill}" '
                    f'stroke="{colour}" stroke-width="2"/>'
                )
        if one.giou is not None:
            # Names of neighbours would lie on each other: they take turns above and below.
            y = bottom - (bottom - top) * one.giou + (-14 if i % 2 == 0 else 26)
            anchor = "end" if x > _WIDTH * 0.8 else "start"
            parts.append(_text(x, y, one.strategy, anchor))
    return _svg(bottom + 44, parts, "Accuracy against thinking tokens")


def nice_ticks(highest: float) -> list[int]:
    """0 to at least `highest` in about five steps of 1, 2 or 5 times a power of ten."""
    step = 1
    while step * 5 < highest:
        lead = int(str(step)[0])
        step = step * 5 // 2 if lead == 2 else step * 2
    return [step * i for i in range(max(1, math.ceil(highest / step)) + 1)]


def _histogram(
    values: Sequence[int], bin_tokens: int, last: float, base: float, colour: str
) -> str:
    counts: dict[int, int] = {}
    for value in values:
        counts[value // bin_tokens] = counts.get(value // bin_tokens, 0) + 1
    tallest = max(counts.values(), default=1)
    bars = []
    for place, count in sorted(counts.items()):
        left = _x(place * bin_tokens, last)
        # The last bin may reach over the axis' end.
        width = max(1.0, min(_x((place + 1) * bin_tokens, last), _WIDTH) - left - 1)
        height = (_ROW - 26) * count / tallest
        span = f"{place * bin_tokens} to {(place + 1) * bin_tokens - 1}"
        told = f"{span} tokens: {count} of {len(values)} answers"
        bars.append(
            f'<rect x="{left:.1f}" y="{base - height:.1f}" width="{width:.1f}" '
            f'height="{height:.1f}" fill="{colour}"><title>{told}</title></rect>'
        )
    return "".join(bars)


def _x_axis(ticks: Sequence[int], bottom: float, top: float, label: str) -> str:
    parts = []
    for tick in ticks:
        x = _x(tick, ticks[-1])
        parts.append(f'<path class="grid" d="M{x:.1f} {top}V{bottom}"/>')
        parts.append(_text(x, bottom + 18, str(tick), "middle"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, bottom + 38, label, "middle"))
    return "".join(parts)


def _x(value: float, last: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * value / last


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: float, parts: Sequence[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )
