"""The parts of the running server, handed to whoever needs them."""

from dataclasses import dataclass

from wise_serve.http.access import Access, make_access
from wise_serve.http.forms import FormReader
from wise_serve.http.problems import Reporter
from wise_serve.imaging.images import ImageThreads
from wise_serve.observe.metrics import Metrics
from wise_serve.observe.traces import NO_TRACER, Tracer
from wise_serve.pipeline.admission import Admission
from wise_serve.pipeline.lifecycle import Lifecycle
from wise_serve.pipeline.segment import Pipeline
from wise_serve.reasoner import Reasoner
from wise_serve.segmenter import Segmenter
from wise_serve.settings import Settings


@dataclass(frozen=True, slots=True)
class Gateway:
    """Made once for each application."""

    settings: Settings
    access: Access
    reasoner: Reasoner
    segmenter: Segmenter
    metrics: Metrics
    threads: ImageThreads
    admission: Admission
    lifecycle: Lifecycle
    forms: FormReader
    pipeline: Pipeline
    reporter: Reporter
    tracer: Tracer


def build_gateway(
    settings: Settings,
    reasoner: Reasoner,
    segmenter: Segmenter,
    metrics: Metrics,
    tracer: Tracer = NO_TRACER,
) -> Gateway:
    """Put the parts together; starts nothing but the (idle) image threads. Raises AccessError."""
    threads = ImageThreads(settings.image_threads)
    admission = Admission(settings.max_inflight_requests, settings.max_queued_requests)
    metrics.inflight.set_function(lambda: admission.inflight)
    metrics.queued.set_function(lambda: admission.waiting)
    lifecycle = Lifecycle(reasoner, segmenter, admission, settings.startup_deadline_s)
    metrics.ready.labels("gateway").set_function(lambda: lifecycle.ready)
    metrics.ready.labels("reasoner").set_function(lambda: reasoner.alive)
    metrics.ready.labels("segmenter").set_function(lambda: segmenter.alive)
    return Gateway(
        settings=settings,
        access=make_access(settings),
        reasoner=reasoner,
        segmenter=segmenter,
        metrics=metrics,
        threads=threads,
        admission=admission,
        lifecycle=lifecycle,
        forms=FormReader(settings, threads),
        pipeline=Pipeline(settings, reasoner, segmenter, threads, metrics),
        reporter=Reporter(metrics),
        tracer=tracer,
    )
