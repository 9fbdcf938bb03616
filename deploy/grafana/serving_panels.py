"""The panels of the dashboard about serving: load, latency, models, errors."""

from typing import Final

from panels import Panel, mean, per_second

_BY_SERVER: Final = [
    Panel(
        "By server: answers",
        "Answers and errors of each server.",
        [("{{instance}}", per_second("wise_requests_total", "instance"))],
        unit="reqps",
        stacked=True,
    ),
    Panel(
        "By server: latency",
        "The 95th percentile of each server. Their mean is not that of all servers: see Latency.",
        [
            (
                "{{instance}}",
                "histogram_quantile(0.95, "
                + per_second("wise_request_seconds_bucket", "instance, le")
                + ")",
            )
        ],
        unit="s",
    ),
    Panel(
        "By server: requests inside",
        "Requests in flight, and those that wait for a slot.",
        [("{{instance}}", "sum by (instance) (wise_inflight_requests + wise_queued_requests)")],
    ),
    Panel(
        "By server: embedding cache",
        "Share of the images whose embedding existed or was being computed. If a load balancer "
        "routes by digest, it is as high as with one server.",
        [
            (
                "{{instance}}",
                per_second("wise_embedding_cache_total", "instance", '{result!="miss"}')
                + " / "
                + per_second("wise_embedding_cache_total", "instance"),
            )
        ],
        unit="percentunit",
    ),
    Panel(
        "By segmenter worker: up",
        "1 if the worker can answer; while it is 0, the other workers serve its images.",
        [
            (
                "{{instance}}, worker {{worker}}",
                "min by (instance, worker) (wise_segmenter_worker_up)",
            )
        ],
    ),
    Panel(
        "By segmenter worker: queue",
        "Items that wait at each worker; the image's digest chooses the worker.",
        [
            (
                "{{instance}}, worker {{worker}}",
                "sum by (instance, worker) (wise_segmenter_queue_depth)",
            )
        ],
    ),
]

SERVING: Final = [
    Panel(
        "Answers",
        "By status; 'error' is a refused or failed request.",
        [("{{status}}", per_second("wise_requests_total", "status"))],
        unit="reqps",
        stacked=True,
    ),
    Panel(
        "Latency",
        "Time of answered requests, from the first byte to the last.",
        [
            ("p50", "wise:request_seconds:p50_5m"),
            ("p95", "wise:request_seconds:p95_5m"),
        ],
        unit="s",
    ),
    Panel(
        "Latency by stage",
        "Mean time of each stage; waiting in a queue is a separate stage.",
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
        "Mean number of items in a batch.",
        [("{{op}}", mean("wise_segmenter_batch_size", "op"))],
    ),
    Panel(
        "Queues",
        "Requests in flight, requests that wait for a slot, items that wait at the segmenter.",
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
        "Refusals by reason; disconnected callers by the stage of their request.",
        [
            ("refused: {{reason}}", per_second("wise_rejected_total", "reason")),
            ("left: {{stage}}", per_second("wise_cancelled_total", "stage")),
        ],
        unit="reqps",
    ),
    Panel(
        "Ready",
        "1 if this part of every server can answer, 0 if one cannot. Restarts of segmenter "
        "workers in the shown time.",
        [
            ("servers that are ready", 'sum(wise_ready{part="gateway"})'),
            ("{{part}}", "min by (part) (wise_ready)"),
            ("segmenter restarts", "sum(increase(wise_segmenter_restarts_total[$__range]))"),
        ],
    ),
    Panel(
        "Embedding cache",
        "Images whose embedding existed (hit), was being computed (shared), or did not exist "
        "(miss).",
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
        "The versions that each server runs.",
        [("{{instance}}: {{version}}, vLLM {{vllm}}, torch {{torch}}", "wise_build_info")],
        kind="stat",
    ),
    Panel(
        "Engine: requests",
        "Running and waiting requests, as vLLM counts them.",
        [
            ("running", "sum(vllm:num_requests_running)"),
            ("waiting", "sum(vllm:num_requests_waiting)"),
        ],
    ),
    Panel(
        "Engine: KV cache",
        "Share of its blocks in use, and share of the prompts' blocks found in it.",
        [
            ("in use, {{instance}}", "max by (instance) (vllm:kv_cache_usage_perc)"),
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
        "The sum of all requests.",
        [("tokens", "sum(rate(vllm:generation_tokens_total[$__rate_interval]))")],
    ),
    Panel(
        "GPU: utilisation",
        "From NVIDIA's DCGM exporter, if there is one.",
        [("GPU {{gpu}}", "DCGM_FI_DEV_GPU_UTIL")],
        unit="percent",
    ),
    Panel(
        "GPU: memory in use",
        "From NVIDIA's DCGM exporter, if there is one.",
        [("GPU {{gpu}}", "DCGM_FI_DEV_FB_USED * 1048576")],
        unit="bytes",
    ),
    Panel(
        "GPU: power",
        "From NVIDIA's DCGM exporter, if there is one.",
        [("GPU {{gpu}}", "DCGM_FI_DEV_POWER_USAGE")],
        unit="watt",
    ),
    *_BY_SERVER,
]
