"""OpenTelemetry traces. The only module that imports it; loaded when an endpoint is set.

Needs the extra `otel`. A batch of spans leaves from a thread of the library; when the collector
cannot be reached, spans are dropped and requests are not held up.
"""

import time
from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from wise_serve import __version__
from wise_serve.observe.traces import Trace

_NANOSECONDS = 1e9
_SERVER_ERROR = 500
_EXPORT_DEADLINE_S = 5.0


class OtelTracer:
    """`Tracer` on the OpenTelemetry SDK."""

    def __init__(self, processor: SpanProcessor) -> None:
        resource = Resource.create({SERVICE_NAME: "wise-serve", SERVICE_VERSION: __version__})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("wise_serve", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, request_id: str, headers: Mapping[str, str]) -> Trace:
        span = self._tracer.start_span(
            "POST /segment",
            context=self._propagator.extract(headers),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": "POST",
                "url.path": "/segment",
                "wise.request_id": request_id,
            },
        )
        return _OtelTrace(self, span)

    def record(self, parent: Span, name: str, start_s: float, end_s: float) -> None:
        """A finished span below `parent`; times since the epoch, seconds."""
        span = self._tracer.start_span(
            name, context=set_span_in_context(parent), start_time=int(start_s * _NANOSECONDS)
        )
        span.end(int(end_s * _NANOSECONDS))

    def close(self) -> None:
        self._provider.shutdown()


class _OtelTrace:
    def __init__(self, tracer: OtelTracer, span: Span) -> None:
        self._tracer, self._span = tracer, span

    def stage(self, name: str, took_s: float, ended_ago_s: float = 0.0) -> None:
        end_s = time.time() - ended_ago_s
        self._tracer.record(self._span, name, end_s - took_s, end_s)

    def end(self, strategy: str, status: int) -> None:
        self._span.set_attribute("wise.strategy", strategy)
        if status:
            self._span.set_attribute("http.response.status_code", status)
        else:
            self._span.set_attribute("error.type", "caller_left")
        if status >= _SERVER_ERROR:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


def tracer_to(endpoint: str) -> OtelTracer:
    """A tracer that sends to `endpoint` (OTLP over HTTP, the whole URL) in the background."""
    return OtelTracer(
        BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=_EXPORT_DEADLINE_S))
    )
