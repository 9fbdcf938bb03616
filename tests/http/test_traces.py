"""Traces, with the real SDK and its exporter into memory."""

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, Tracer

from fakes import FakeReasoner, FakeSegmenter
from gateways import Start
from wise_serve.compose import tracing
from wise_serve.observe import traces
from wise_serve.observe.otel import make_provider
from wise_serve.settings import Settings

STAGES = {
    "admission", "decode", "resize", "time_to_first_token", "reason", "encode_queue", "encode",
    "segment_queue", "segment", "rle",
}  # fmt: skip
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> Tracer:
    return make_provider(SimpleSpanProcessor(exporter)).get_tracer("tests")


def split(exporter: InMemorySpanExporter) -> tuple[ReadableSpan, dict[str, ReadableSpan]]:
    spans = exporter.get_finished_spans()
    [request] = [span for span in spans if span.kind is SpanKind.SERVER]
    stages = [span for span in spans if span is not request]
    assert all(span.parent and span.parent.span_id == request.context.span_id for span in stages)
    return request, {span.name: span for span in stages}


def seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


async def test_one_span_for_each_stage(
    start: Start, tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    server = await start(FakeReasoner(delay_s=0.002), FakeSegmenter(encode_s=0.03), tracer=tracer)
    await server.form()
    request, stages = split(exporter)
    assert set(stages) == STAGES
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["wise.strategy"] == "wise-s"
    assert 0.029 <= seconds(stages["encode"]) <= 0.031
    # Two at once: the encode runs during the reasoning, not after it.
    reason, encode = stages["reason"], stages["encode"]
    assert encode.end_time < reason.end_time  # type: ignore[operator]
    assert stages["segment"].end_time <= stages["rle"].start_time + 1000  # type: ignore[operator]


async def test_the_callers_trace_is_continued(
    start: Start, tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    server = await start(tracer=tracer)
    server.client.headers.update({"traceparent": CALLER, "x-request-id": "mine-7"})
    await server.form()
    request, _ = split(exporter)
    assert f"{request.context.trace_id:032x}" == CALLER.split("-")[1]
    assert request.attributes is not None
    assert request.attributes["wise.request_id"] == "mine-7"
    assert "the red circle" not in str([span.to_json() for span in exporter.get_finished_spans()])


async def test_failures_are_marked(
    start: Start, tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    server = await start(FakeReasoner(fail_after=2), tracer=tracer)
    assert (await server.form()).status_code == 503
    request, stages = split(exporter)
    assert request.status.status_code is StatusCode.ERROR
    assert "segment" not in stages


async def test_probes_make_no_spans(
    start: Start, tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    server = await start(tracer=tracer)
    await server.client.get("/metrics")
    assert exporter.get_finished_spans() == ()


def test_spans_still_buffered_are_sent_at_the_end() -> None:
    received = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever).start()
        endpoint = f"http://127.0.0.1:{collector.server_address[1]}/v1/traces"
        with tracing(Settings(otlp_endpoint=endpoint)) as tracer:
            traces.begin(tracer, "/segment", "mine-8", {}).end("wise-s", 200)
            assert received == []
        collector.shutdown()
    [(path, spans)] = received
    assert path == "/v1/traces"
    assert b"mine-8" in spans


def test_without_an_endpoint_the_sdk_is_not_loaded() -> None:
    code = (
        "import sys, wise_serve.http.app, wise_serve.server.serving; "
        "parts = ('opentelemetry.sdk', 'opentelemetry.exporter'); "
        "print([name for name in sys.modules if name.startswith(parts)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
