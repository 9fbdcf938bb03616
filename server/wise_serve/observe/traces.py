"""Traces through OpenTelemetry's API: one span per request, with one child span per stage.

The API alone records nothing; `otel.py` makes a tracer from the SDK, which records and sends.
"""

import time
from collections.abc import Mapping
from typing import Final

from opentelemetry.trace import (
    INVALID_SPAN,
    NoOpTracer,
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

NO_TRACER: Final[Tracer] = NoOpTracer()
_PROPAGATOR: Final = TraceContextTextMapPropagator()
_NANOSECONDS: Final = 1e9
_SERVER_ERROR: Final = 500


class Trace:
    """The spans of one request."""

    def __init__(self, tracer: Tracer = NO_TRACER, span: Span = INVALID_SPAN) -> None:
        self._tracer, self._span = tracer, span

    def stage(self, name: str, took_s: float, ended_ago_s: float = 0.0) -> None:
        """Record a stage that took `took_s` seconds and ended `ended_ago_s` before this call."""
        end_s = time.time() - ended_ago_s
        span = self._tracer.start_span(
            name,
            context=set_span_in_context(self._span),
            start_time=int((end_s - took_s) * _NANOSECONDS),
        )
        span.end(int(end_s * _NANOSECONDS))

    def end(self, strategy: str, status: int) -> None:
        """End the request's span. `status`: of the HTTP answer; 0 if the caller left first."""
        self._span.set_attribute("wise.strategy", strategy)
        if status:
            self._span.set_attribute("http.response.status_code", status)
        else:
            self._span.set_attribute("error.type", "caller_left")
        if status >= _SERVER_ERROR:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


NO_TRACE: Final = Trace()


def begin(tracer: Tracer, path: str, request_id: str, headers: Mapping[str, str]) -> Trace:
    """Begin the span of a POST request; a `traceparent` among its headers (W3C) is continued."""
    span = tracer.start_span(
        f"POST {path}",
        context=_PROPAGATOR.extract(headers),
        kind=SpanKind.SERVER,
        attributes={
            "http.request.method": "POST",
            "url.path": path,
            "wise.request_id": request_id,
        },
    )
    return Trace(tracer, span)
