"""Puts the real models behind the server. The only module that imports both."""

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.trace import Tracer

from wise_serve.downloads import Downloads, checkpoints_of
from wise_serve.observe.metrics import Metrics
from wise_serve.observe.segmenter_metrics import SegmenterMetrics
from wise_serve.observe.traces import NO_TRACER
from wise_serve.pipeline.runtime import Runtime, build_runtime
from wise_serve.reasoner import Reasoner
from wise_serve.reasoner.engine import VllmReasoner
from wise_serve.reasoner.engine_args import read_engine_args
from wise_serve.reasoner.none import NoReasoner
from wise_serve.reasoner.strategies import Strategy
from wise_serve.segmenter import Segmenter
from wise_serve.segmenter.supervisor.pool import SegmenterPool
from wise_serve.settings import NO_REASONER, Settings
from wise_serve.versions import VERSION


def compose(settings: Settings, strategies: Mapping[str, Strategy]) -> Runtime:
    """The running parts on the real models. Nothing is loaded yet: the application's lifespan
    starts them.

    strategies: what `load_strategies` made of these settings. Raises EngineArgsError if the
    settings name arguments that cannot be used.
    """
    metrics = Metrics()
    downloads = Downloads(checkpoints_of(settings, read_engine_args(settings.engine_args)))
    segmenter = make_segmenter(settings, metrics.segmenter)
    reasoner = make_reasoner(settings, strategies)
    return build_runtime(settings, strategies, reasoner, segmenter, metrics, downloads)


def make_segmenter(settings: Settings, metrics: SegmenterMetrics) -> Segmenter:
    """SAM 2 on worker processes, which report to `metrics`."""
    return SegmenterPool(settings, metrics.worker)


def make_reasoner(settings: Settings, strategies: Mapping[str, Strategy]) -> Reasoner:
    """vLLM, or none. strategies: as for `compose`."""
    if settings.reasoner == NO_REASONER:
        return NoReasoner()
    return VllmReasoner(settings, strategies)


@contextmanager
def tracing(settings: Settings) -> Iterator[Tracer]:
    """The tracer of `--otlp-endpoint`; what it has not sent yet is sent at the end.

    Raises SystemExit if the SDK's package is missing.
    """
    if settings.otlp_endpoint is None:
        yield NO_TRACER
        return
    # An optional extra, and no cost while tracing is off: hence imported here.
    try:
        otel = importlib.import_module("wise_serve.observe.otel")
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"wise-serve: --otlp-endpoint needs the package '{error.name}': "
            "pip install 'wise-serve[otel]'."
        ) from None
    provider = otel.make_provider(otel.sending_to(settings.otlp_endpoint))
    try:
        tracer: Tracer = provider.get_tracer("wise_serve", VERSION)
        yield tracer
    finally:
        provider.shutdown()
