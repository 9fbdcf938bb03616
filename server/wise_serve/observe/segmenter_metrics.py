"""The metrics of the segmenter's workers; the label `worker` is a worker's number, from 0."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BATCH: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128)


class SegmenterMetrics:
    """The series of all workers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._batch_size = Histogram(
            "wise_segmenter_batch_size",
            "Items per batch",
            ["worker", "op"],
            buckets=_BATCH,
            registry=registry,
        )
        self._queue_depth = Gauge(
            "wise_segmenter_queue_depth",
            "Items waiting at a worker of the segmenter",
            ["worker"],
            registry=registry,
        )
        self._restarts = Counter(
            "wise_segmenter_restarts_total", "Restarts of a worker", ["worker"], registry=registry
        )
        self._up = Gauge(
            "wise_segmenter_worker_up",
            "1 while a worker of the segmenter is loaded and sends heartbeats",
            ["worker"],
            registry=registry,
        )
        self._cache = Counter(
            "wise_embedding_cache_total",
            "Embedding lookups",
            ["worker", "result"],
            registry=registry,
        )
        self.worker("0")

    def worker(self, name: str) -> "WorkerMetrics":
        """The series of the worker called `name`; all of them exist from now on."""
        return WorkerMetrics(
            {op: self._batch_size.labels(name, op) for op in ("encode", "decode")},
            self._queue_depth.labels(name),
            self._restarts.labels(name),
            self._up.labels(name),
            {result: self._cache.labels(name, result) for result in ("hit", "shared", "miss")},
        )


@dataclass(frozen=True, slots=True)
class WorkerMetrics:
    """The series of one worker, as its client's observer; called on the event loop."""

    _batch_size: Mapping[str, Histogram]
    _queue_depth: Gauge
    _restarts: Counter
    _up: Gauge
    _cache: Mapping[str, Counter]

    def batch(self, operation: str, size: int) -> None:
        """A batch of `size` items was run; `operation` is encode or decode."""
        self._batch_size[operation].observe(size)

    def queue_depth(self, items: int) -> None:
        """`items` wait at the worker now."""
        self._queue_depth.set(items)

    def restart(self) -> None:
        """The worker died and another one is being started."""
        self._restarts.inc()

    def watch(self, alive: Callable[[], bool]) -> None:
        """Let `wise_segmenter_worker_up` call `alive` whenever it is read."""
        self._up.set_function(alive)

    def cache(self, result: str) -> None:
        """An embedding was looked up: it exists (hit), is being made (shared) or not (miss)."""
        self._cache[result].inc()
