"""The running parts behind HTTP: both models, admission, the pipeline. Made once per server."""

from collections.abc import Mapping
from dataclasses import dataclass

from wise_serve.device import device_of
from wise_serve.downloads import Downloads
from wise_serve.imaging.images import ImageThreads
from wise_serve.observe.metrics import Metrics
from wise_serve.pipeline.admission import Admission
from wise_serve.pipeline.arrival import Arrivals
from wise_serve.pipeline.lifecycle import Lifecycle
from wise_serve.pipeline.refine import Refiner
from wise_serve.pipeline.segment import Pipeline
from wise_serve.reasoner import Reasoner
from wise_serve.reasoner.strategies import Strategy
from wise_serve.segmenter import Segmenter
from wise_serve.settings import Settings


@dataclass(frozen=True, slots=True)
class Runtime:
    """Knows no HTTP. What only HTTP needs (keys, bodies, problems) is made by `http.app`."""

    settings: Settings
    strategies: Mapping[str, Strategy]
    metrics: Metrics
    reasoner: Reasoner
    segmenter: Segmenter
    threads: ImageThreads
    admission: Admission
    lifecycle: Lifecycle
    pipeline: Pipeline
    refiner: Refiner


def build_runtime(
    settings: Settings,
    strategies: Mapping[str, Strategy],
    reasoner: Reasoner,
    segmenter: Segmenter,
    metrics: Metrics,
    downloads: Downloads | None = None,
) -> Runtime:
    """Put the parts together; starts nothing but the (idle) image threads.

    strategies: those that the server offers, by name, as `load_strategies` made them of these
    settings.
    """
    metrics.expect_strategies(strategies)
    threads = ImageThreads(settings.image_threads)
    admission = Admission(settings.max_inflight_requests, settings.max_queued_requests)
    metrics.inflight.set_function(lambda: admission.inflight)
    metrics.queued.set_function(lambda: admission.waiting)
    one_gpu = device_of(settings) == "cuda"
    lifecycle = Lifecycle(
        reasoner, segmenter, admission, settings.startup_deadline_s, one_gpu, downloads
    )
    metrics.ready.labels("gateway").set_function(lambda: lifecycle.ready)
    metrics.ready.labels("reasoner").set_function(lambda: reasoner.alive)
    metrics.ready.labels("segmenter").set_function(lambda: segmenter.alive)
    arrivals = Arrivals(settings, segmenter, threads, metrics)
    return Runtime(
        settings,
        strategies,
        metrics,
        reasoner,
        segmenter,
        threads,
        admission,
        lifecycle,
        Pipeline(settings, reasoner, arrivals, metrics),
        Refiner(arrivals, threads, metrics),
    )
