"""The panels of the dashboard about serving: load, latency, models, errors."""

from typing import Final

from panels import Panel, mean, per_second

SERVING: Final = [
    Panel(
        "Answers",
        "By status; errors are refused or failed requests.",
        [("{{status}}", per_second("wise_requests_total", "status"))],
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
        "Time per request in which the image was encoded while the reasoner was working.",
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
        [("{{op}}", mean("wise_segmenter_batch_size", "op"))],
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
        [("{{code}}", per_second("wise_requests_total", "code", '{status="error"}'))],
        unit="reqps",
    ),
    Panel(
        "Refused unread, and callers who left",
        "By reason, and by where the request was.",
        [
            ("refused: {{reason}}", per_second("wise_rejected_total", "reason")),
            ("left: {{stage}}", per_second("wise_cancelled_total", "stage")),
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
        [("{{result}}", per_second("wise_embedding_cache_total", "result"))],
        unit="reqps",
        stacked=True,
    ),
    Panel(
        "Images and instances",
        "Mean pixels of an image; mean instances of an answer.",
        [
            ("pixels", mean("wise_image_pixels", "job")),
            ("instances", mean("wise_instances", "job")),
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
