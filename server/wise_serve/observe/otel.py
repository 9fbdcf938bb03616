"""OpenTelemetry's SDK, which records spans and sends them. Imported only for `--otlp-endpoint`.

Needs the extra `otel`. A thread of the SDK sends spans in batches; if the collector cannot be
reached, spans are dropped and requests do not wait.
"""

from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from wise_serve.versions import VERSION

_EXPORT_DEADLINE_S: Final = 5.0


def make_provider(processor: SpanProcessor) -> TracerProvider:
    """A provider of tracers whose spans go to `processor`.

    Call `shutdown()` at the end: it sends the last spans, and may block for seconds.
    """
    resource = Resource.create({SERVICE_NAME: "wise-serve", SERVICE_VERSION: VERSION})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(processor)
    return provider


def sending_to(endpoint: str) -> SpanProcessor:
    """A processor that sends spans in the background. `endpoint`: URL, OTLP over HTTP."""
    return BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=_EXPORT_DEADLINE_S))
