"""Curves of a training from its table: rewards, lengths of both rationales, accuracy."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import pyplot
from numpy.typing import NDArray

PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("reward, mean of a batch", (
        "thinking_format", "answer_format", "iou", "box_l1", "point_l1", "no_repetition",
        "distillation",
    )),
    ("tokens of a rationale, mean", ("tokens_before_answer", "tokens_after_answer")),
    ("share of responses", ("correct", "complete")),
)  # fmt: skip


def read_table(table: Path) -> dict[str, NDArray[np.float64]]:
    """Columns of a `training.csv`, by name."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def smoothed(values: NDArray[np.float64], width: int = 5) -> NDArray[np.float64]:
    """Mean over the last `width` steps, fewer at the start."""
    sums = np.cumsum(np.insert(values, 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    means: NDArray[np.float64] = (sums[ends] - sums[starts]) / (ends - starts)
    return means


def draw_curves(
    table: Path, picture: Path, panels: Sequence[tuple[str, tuple[str, ...]]] = PANELS
) -> None:
    """Write a PNG with one panel a group of columns, each a mean over five steps."""
    columns = read_table(table)
    lines = {
        title: {name.replace("_", " "): smoothed(columns[name]) for name in names}
        for title, names in panels
    }
    _draw(lines, picture)


def draw_objectives(tables: Mapping[str, Path], picture: Path) -> None:
    """Write a PNG that compares runs, a line each, means over ten steps: tokens before the answer,
    and accuracy."""
    panels = {
        "tokens before the answer, mean": "tokens_before_answer",
        "share of correct answers": "correct",
    }
    runs = {run: read_table(table) for run, table in tables.items()}
    lines = {
        title: {run: smoothed(columns[name], 10) for run, columns in runs.items()}
        for title, name in panels.items()
    }
    _draw(lines, picture)


def compare_objectives(tables: Mapping[str, Path], width: int = 10) -> str:
    """A Markdown table that compares runs: means over the first and the last `width` steps."""
    headers = (
        "run", "steps", "tokens before the answer", "correct", "distillation reward",
        "seconds a step, median",
    )  # fmt: skip
    lines = [f"| {' | '.join(headers)} |", f"| --- |{' ---: |' * (len(headers) - 1)}"]
    for run, table in tables.items():
        columns = read_table(table)
        tokens, correct, distillation = (
            (columns[name][:width].mean(), columns[name][-width:].mean())
            for name in ("tokens_before_answer", "correct", "distillation")
        )
        cells = (
            run, str(len(columns["step"])), "{:.1f}, {:.1f}".format(*tokens),
            "{:.0%}, {:.0%}".format(*correct), "{:.2f}, {:.2f}".format(*distillation),
            f"{np.median(columns['seconds']):.0f}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _draw(panels: Mapping[str, Mapping[str, NDArray[np.float64]]], picture: Path) -> None:
    """panels: by title, lines by label, a value a step from the first on."""
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.6))
    for axis, (title, lines) in zip(axes, panels.items(), strict=True):
        for label, values in lines.items():
            axis.plot(values, label=label)
        axis.set(title=title, xlabel="step")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)
