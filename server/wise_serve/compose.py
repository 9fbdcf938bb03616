"""Puts the real models behind the server. The only module that imports both."""

import importlib

from wise_serve.miniature import REASONER_FOLDER, REASONER_IMAGE_SIZE
from wise_serve.observe.metrics import Metrics
from wise_serve.observe.traces import NO_TRACER, Tracer
from wise_serve.pipeline.runtime import Runtime, build_runtime
from wise_serve.reasoner.engine import VllmReasoner
from wise_serve.segmenter.supervisor.client import SegmenterClient
from wise_serve.settings import Settings


def compose(settings: Settings) -> Runtime:
    """The running parts on the real models. Nothing is loaded yet: the application's lifespan
    starts them."""
    metrics = Metrics()
    segmenter = SegmenterClient(settings, metrics.segmenter)
    reasoner = VllmReasoner(settings, REASONER_FOLDER, REASONER_IMAGE_SIZE)
    return build_runtime(settings, reasoner, segmenter, metrics)


def make_tracer(settings: Settings) -> Tracer:
    """The tracer of `--otlp-endpoint`. Ends the process if its package is missing."""
    if settings.otlp_endpoint is None:
        return NO_TRACER
    # An optional extra, and no cost while tracing is off: hence imported here.
    try:
        otel = importlib.import_module("wise_serve.observe.otel")
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"wise-serve: --otlp-endpoint needs the package '{error.name}': "
            "pip install 'wise-serve[otel]'."
        ) from None
    tracer: Tracer = otel.tracer_to(settings.otlp_endpoint)
    return tracer
