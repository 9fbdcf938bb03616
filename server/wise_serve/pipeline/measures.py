"""Records how long stages took, in the metrics and the trace."""

import time

from wise_serve.observe.context import RequestContext
from wise_serve.observe.metrics import Metrics
from wise_serve.segmenter import Timing


def observe(
    metrics: Metrics, context: RequestContext, stage: str, ms: float, *, ended_ago_ms: float = 0.0
) -> float:
    """Record a stage that took `ms` and ended `ended_ago_ms` before this call; returns `ms`."""
    metrics.stage_seconds.labels(stage).observe(ms / 1000)
    context.trace.stage(stage, ms / 1000, ended_ago_ms / 1000)
    return ms


def observe_masks(metrics: Metrics, context: RequestContext, timing: Timing) -> float:
    """Record the stages of a decode that has just ended; returns what it took in all, ms."""
    after_queue_ms = timing.work_ms + timing.rle_ms
    observe(metrics, context, "segment_queue", timing.queue_ms, ended_ago_ms=after_queue_ms)
    observe(metrics, context, "segment", timing.work_ms, ended_ago_ms=timing.rle_ms)
    observe(metrics, context, "rle", timing.rle_ms)
    return timing.queue_ms + after_queue_ms


def ms_since(start: float) -> float:
    """Milliseconds since `start`, a reading of `time.perf_counter()`."""
    return (time.perf_counter() - start) * 1000
