"""What the two dashboards show: one entry a panel. `build.py` makes Grafana's JSON of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# Mean thinking tokens of arXiv 2604.02040: before (Seg-Zero) and with WISE-S.
PAPER_SEG_ZERO: Final = 112
PAPER_WISE_S: Final = 23
_BY_STRATEGY: Final = '{strategy=~"$strategy"}'


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


def _quantiles(metric: str) -> list[tuple[str, str]]:
    rate = f"sum by (strategy, le) (rate({metric}_bucket{_BY_STRATEGY}[$__rate_interval]))"
    return [
        (f"p{share:.0f} {{{{strategy}}}}", f"histogram_quantile({share / 100}, {rate})")
        for share in (50, 95)
    ]


def _buckets(metric: str) -> list[tuple[str, str]]:
    return [("{{le}}", f"sum by (le) (increase({metric}_bucket{_BY_STRATEGY}[$__rate_interval]))")]


def _mean(metric: str, by: str, selector: str = "") -> str:
    return (
        f"sum by ({by}) (rate({metric}_sum{selector}[$__rate_interval])) / "
        f"sum by ({by}) (rate({metric}_count{selector}[$__rate_interval]))"
    )


def _per_second(metric: str, by: str, selector: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{selector}[$__rate_interval]))"


_MEAN_THINKING: Final = _mean("wise_thinking_tokens", "strategy", _BY_STRATEGY)
_PAPER_LINES: Final = [
    (f"Seg-Zero in the paper ({PAPER_SEG_ZERO})", f"vector({PAPER_SEG_ZERO})"),
    (f"WISE-S in the paper ({PAPER_WISE_S})", f"vector({PAPER_WISE_S})"),
]
_SEG_ZERO_MEAN: Final = _mean("wise_thinking_tokens", "job", '{strategy="seg-zero"}')

TOKENS: Final = [
    Panel(
        "Thinking tokens a request",
        "Tokens inside <think>, as the paper counts them; its means are the two straight lines.",
        [*_quantiles("wise_thinking_tokens"), *_PAPER_LINES],
        width=16,
    ),
    Panel(
        "Mean thinking tokens",
        "By strategy, over the shown time.",
        [
            (
                "{{strategy}}",
                f"sum by (strategy) (increase(wise_thinking_tokens_sum{_BY_STRATEGY}[$__range])) / "
                "sum by (strategy) "
                f"(increase(wise_thinking_tokens_count{_BY_STRATEGY}[$__range]) > 0)",
            ),
            *_PAPER_LINES,
        ],
        kind="bargauge",
    ),
    Panel("Answer tokens a request", "Inside <answer>.", _quantiles("wise_answer_tokens")),
    Panel(
        "Completion tokens a request",
        "Everything that was generated and paid for.",
        _quantiles("wise_completion_tokens"),
    ),
    Panel(
        "Budget used",
        "Mean thinking tokens over their budget (wise.rules.yml); an alert fires above 100 %.",
        [("{{strategy}}", f"wise:thinking_tokens:budget_used{_BY_STRATEGY}")],
        unit="percentunit",
    ),
    Panel(
        "Thinking tokens: distribution",
        "Answers in each bucket.",
        _buckets("wise_thinking_tokens"),
        kind="heatmap",
    ),
    Panel(
        "Answer tokens: distribution",
        "Answers in each bucket.",
        _buckets("wise_answer_tokens"),
        kind="heatmap",
    ),
    Panel(
        "Completion tokens: distribution",
        "Answers in each bucket.",
        _buckets("wise_completion_tokens"),
        kind="heatmap",
    ),
    Panel(
        "Thinking tokens saved a request",
        f"Against the paper's Seg-Zero ({PAPER_SEG_ZERO}), and against the seg-zero that is served "
        "here, where there is one.",
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
        f"Against the paper's Seg-Zero ({PAPER_SEG_ZERO}).",
        [
            (
                "{{strategy}}",
                f"{PAPER_SEG_ZERO} * "
                + _per_second("wise_thinking_tokens_count", "strategy", _BY_STRATEGY)
                + " - "
                + _per_second("wise_thinking_tokens_sum", "strategy", _BY_STRATEGY),
            )
        ],
    ),
    Panel(
        "Prompt-cache share",
        "Prompt tokens that the engine had computed before.",
        [("cached", "wise:prompt_cached:ratio5m")],
        unit="percentunit",
    ),
]

SERVING: Final = [
    Panel(
        "Answers",
        "By status; errors are refused or failed requests.",
        [("{{status}}", _per_second("wise_requests_total", "status"))],
        unit="reqps",
        stacked=True,
    ),
    Panel(
        "Latency",
        "Of answered requests, from the first byte to the last.",
        [
            ("p50", "wise:request_seconds:p50_5m"),
            ("p95", "wise:request_seconds:p95_5m"),
        ],
        unit="s",
    ),
    Panel(
        "Latency by stage",
        "Mean of each stage; waiting in a queue is a stage of its own.",
        [("{{stage}}", "wise:stage_seconds:mean5m")],
        unit="s",
    ),
    Panel(
        "Overlap won",
        "Time a request that encoding cost nothing, since it ran beside the reasoning.",
        [
            (
                "won a request",
                "sum(rate(wise_overlap_seconds_total[$__rate_interval])) / "
                "sum(rate(wise_request_seconds_count[$__rate_interval]))",
            )
        ],
        unit="s",
    ),
    Panel(
        "Segmenter batch sizes",
        "Mean items of a batch.",
        [("{{op}}", _mean("wise_segmenter_batch_size", "op"))],
    ),
    Panel(
        "Queues",
        "Requests inside, requests waiting for a slot, items waiting at the segmenter.",
        [
            ("inside", "sum(wise_inflight_requests)"),
            ("waiting for a slot", "sum(wise_queued_requests)"),
            ("waiting at the segmenter", "sum(wise_segmenter_queue_depth)"),
        ],
    ),
    Panel(
        "Errors",
        "Refused or failed requests by HTTP status.",
        [("{{code}}", _per_second("wise_requests_total", "code", '{status="error"}'))],
        unit="reqps",
    ),
    Panel(
        "Refused unread, and callers who left",
        "By reason, and by where the request was.",
        [
            ("refused: {{reason}}", _per_second("wise_rejected_total", "reason")),
            ("left: {{stage}}", _per_second("wise_cancelled_total", "stage")),
        ],
        unit="reqps",
    ),
    Panel(
        "Ready",
        "1 while the part would answer. Restarts of the segmenter over the shown time.",
        [
            ("{{part}}", "min by (part) (wise_ready)"),
            ("segmenter restarts", "sum(increase(wise_segmenter_restarts_total[$__range]))"),
        ],
    ),
    Panel(
        "Embedding cache",
        "Images whose embedding was there (hit), being made (shared), or not (miss).",
        [("{{result}}", _per_second("wise_embedding_cache_total", "result"))],
        unit="reqps",
        stacked=True,
    ),
    Panel(
        "Images and instances",
        "Mean pixels of an image; mean instances of an answer.",
        [
            ("pixels", _mean("wise_image_pixels", "job")),
            ("instances", _mean("wise_instances", "job")),
        ],
    ),
    Panel(
        "Versions",
        "What runs where.",
        [("{{instance}}: {{version}}, vLLM {{vllm}}, torch {{torch}}", "wise_build_info")],
        kind="stat",
    ),
    Panel(
        "Engine: requests",
        "As vLLM counts them.",
        [
            ("running", "sum(vllm:num_requests_running)"),
            ("waiting", "sum(vllm:num_requests_waiting)"),
        ],
    ),
    Panel(
        "Engine: KV cache",
        "Share of its blocks in use, and share of the prompt's blocks found in it.",
        [
            ("in use", "max(vllm:kv_cache_usage_perc)"),
            (
                "prefix hits",
                "sum(rate(vllm:prefix_cache_hits_total[$__rate_interval])) / "
                "sum(rate(vllm:prefix_cache_queries_total[$__rate_interval]))",
            ),
        ],
        unit="percentunit",
    ),
    Panel(
        "Engine: generated tokens",
        "All requests together.",
        [("tokens", "sum(rate(vllm:generation_tokens_total[$__rate_interval]))")],
    ),
    Panel(
        "GPU: utilisation",
        "From NVIDIA's DCGM exporter, where there is one.",
        [("GPU {{gpu}}", "DCGM_FI_DEV_GPU_UTIL")],
        unit="percent",
    ),
    Panel(
        "GPU: memory in use",
        "From NVIDIA's DCGM exporter, where there is one.",
        [("GPU {{gpu}}", "DCGM_FI_DEV_FB_USED * 1048576")],
        unit="bytes",
    ),
    Panel(
        "GPU: power",
        "From NVIDIA's DCGM exporter, where there is one.",
        [("GPU {{gpu}}", "DCGM_FI_DEV_POWER_USAGE")],
        unit="watt",
    ),
]
