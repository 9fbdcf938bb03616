"""The parts of the running server, handed to whoever needs them."""

from dataclasses import dataclass

from wise_serve.access import Access, make_access
from wise_serve.admission import Admission
from wise_serve.forms import FormReader
from wise_serve.images import ImageThreads
from wise_serve.lifecycle import Lifecycle
from wise_serve.metrics import Metrics
from wise_serve.pipeline import Pipeline
from wise_serve.problems import Reporter
from wise_serve.reasoner import Reasoner
from wise_serve.segmenter import Segmenter
from wise_serve.settings import Settings
from wise_serve.tracing import NO_TRACER, Tracer


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
