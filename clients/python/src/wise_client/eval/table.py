"""The figures as a table: for the screen, as Markdown, as CSV. Columns are strategies."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields

from rich.table import Table

from wise_client.eval.scores import Summary


@dataclass(frozen=True)
class Row:
    """One figure: its name for readers, and how its value is written."""

    figure: str
    label: str
    write: Callable[[float], str]
    ratio: bool = True


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _one_place(value: float) -> str:
    return f"{value:.1f}"


def _whole(value: float) -> str:
    return f"{value:.0f}"


ROWS = (
    Row("answered", "answers scored", _whole, ratio=False),
    Row("failed", "pairs failed", _whole, ratio=False),
    Row("giou", "gIoU, %", _percent),
    Row("ciou", "cIoU, %", _percent),
    Row("thinking_tokens_mean", "thinking tokens, mean", _one_place),
    Row("thinking_tokens_median", "thinking tokens, median", _one_place),
    Row("thinking_tokens_p95", "thinking tokens, p95", _one_place),
    Row("completion_tokens_mean", "completion tokens, mean", _one_place),
    Row("completion_tokens_median", "completion tokens, median", _one_place),
    Row("completion_tokens_p95", "completion tokens, p95", _one_place),
    Row("unparsed_rate", "unparsed, %", _percent, ratio=False),
    Row("truncated_rate", "truncated, %", _percent, ratio=False),
    Row("no_target_rate", "no target, %", _percent, ratio=False),
    Row("latency_mean_ms", "latency, mean, ms", _whole),
    Row("latency_median_ms", "latency, median, ms", _whole),
    Row("latency_p95_ms", "latency, p95, ms", _whole),
    Row("throughput_per_s", "throughput, answers/s", lambda value: f"{value:.2f}"),
)


def cells(summaries: Sequence[Summary]) -> list[list[str]]:
    """Label and one cell a strategy; from the second on with the ratio to the first."""
    return [
        [row.label]
        + [_cell(row, summary, summaries[0] if i else None) for i, summary in enumerate(summaries)]
        for row in ROWS
    ]


def on_screen(summaries: Sequence[Summary], title: str) -> Table:
    """A table that rich prints."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for summary in summaries:
        table.add_column(summary.strategy, justify="right")
    for line in cells(summaries):
        table.add_row(*line)
    return table


def as_markdown(summaries: Sequence[Summary]) -> str:
    """A table in Markdown, with a line end."""
    head = ["", *(summary.strategy for summary in summaries)]
    lines = [head, ["---", *("---:" for _ in summaries)], *cells(summaries)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def as_csv(summaries: Sequence[Summary]) -> str:
    """One line a strategy, unrounded; an empty field where there is no figure."""
    out = io.StringIO()
    names = [field.name for field in fields(Summary)]
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(summary) for summary in summaries)
    return out.getvalue()


def _cell(row: Row, summary: Summary, base: Summary | None) -> str:
    value = getattr(summary, row.figure)
    if value is None:
        return "-"
    first = getattr(base, row.figure) if base and row.ratio else None
    return row.write(value) + (f" (x{value / first:.2f})" if first else "")
