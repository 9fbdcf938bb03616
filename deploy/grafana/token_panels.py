"""The panels of the dashboard about tokens."""

from typing import Final

from panels import (
    BY_STRATEGY,
    PAPER_SEG_ZERO,
    PAPER_WISE_S,
    Panel,
    buckets,
    mean,
    per_second,
    quantiles,
)

_MEAN_THINKING: Final = mean("wise_thinking_tokens", "strategy", BY_STRATEGY)
_PAPER_LINES: Final = [
    (f"Seg-Zero in the paper ({PAPER_SEG_ZERO})", f"vector({PAPER_SEG_ZERO})"),
    (f"WISE-S in the paper ({PAPER_WISE_S})", f"vector({PAPER_WISE_S})"),
]
_SEG_ZERO_MEAN: Final = mean("wise_thinking_tokens", "job", '{strategy="seg-zero"}')

TOKENS: Final = [
    Panel(
        "Thinking tokens a request",
        "Tokens inside <think>, as the paper counts them. The two straight lines are the paper's "
        "means.",
        [*quantiles("wise_thinking_tokens"), *_PAPER_LINES],
        width=16,
    ),
    Panel(
        "Mean thinking tokens",
        "By strategy, in the shown time.",
        [
            (
                "{{strategy}}",
                f"sum by (strategy) (increase(wise_thinking_tokens_sum{BY_STRATEGY}[$__range])) / "
                "sum by (strategy) "
                f"(increase(wise_thinking_tokens_count{BY_STRATEGY}[$__range]) > 0)",
            ),
            *_PAPER_LINES,
        ],
        kind="bargauge",
    ),
    Panel("Answer tokens a request", "Tokens inside <answer>.", quantiles("wise_answer_tokens")),
    Panel(
        "Completion tokens a request",
        "All generated tokens.",
        quantiles("wise_completion_tokens"),
    ),
    Panel(
        "Budget used",
        "Mean thinking tokens divided by their budget (wise.rules.yml); an alert fires above 100 "
        "%.",
        [("{{strategy}}", f"wise:thinking_tokens:budget_used{BY_STRATEGY}")],
        unit="percentunit",
    ),
    Panel(
        "Thinking tokens: distribution",
        "Number of answers in each bucket.",
        buckets("wise_thinking_tokens"),
        kind="heatmap",
    ),
    Panel(
        "Answer tokens: distribution",
        "Number of answers in each bucket.",
        buckets("wise_answer_tokens"),
        kind="heatmap",
    ),
    Panel(
        "Completion tokens: distribution",
        "Number of answers in each bucket.",
        buckets("wise_completion_tokens"),
        kind="heatmap",
    ),
    Panel(
        "Thinking tokens saved a request",
        f"Compared with the paper's Seg-Zero ({PAPER_SEG_ZERO}), and with the strategy seg-zero "
        "of these servers, if it is used.",
        [
            ("{{strategy}}, paper", f"{PAPER_SEG_ZERO} - ({_MEAN_THINKING})"),
            (
                "{{strategy}}, measured",
                f"scalar({_SEG_ZERO_MEAN}) - ({_MEAN_THINKING})",
            ),
        ],
    ),
    Panel(
        "Thinking tokens saved a second",
        f"Compared with the paper's Seg-Zero ({PAPER_SEG_ZERO}).",
        [
            (
                "{{strategy}}",
                f"{PAPER_SEG_ZERO} * "
                + per_second("wise_thinking_tokens_count", "strategy", BY_STRATEGY)
                + " - "
                + per_second("wise_thinking_tokens_sum", "strategy", BY_STRATEGY),
            )
        ],
    ),
    Panel(
        "Prompt-cache share",
        "Share of the prompt tokens that were found in the engine's cache.",
        [("cached", "wise:prompt_cached:ratio5m")],
        unit="percentunit",
    ),
    Panel(
        "By server: mean thinking tokens",
        "Servers with the same checkpoint have similar values; an outlier serves another "
        "checkpoint.",
        [("{{instance}}", mean("wise_thinking_tokens", "instance", BY_STRATEGY))],
    ),
]
