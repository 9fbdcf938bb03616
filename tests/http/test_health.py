"""Probes, facts, metrics, the page and the description of it all."""

import json
import random
import re
from typing import get_args

import pytest
from prometheus_client import REGISTRY, Gauge
from prometheus_client.parser import text_string_to_metric_families

from fakes import FakeReasoner, FakeSegmenter
from gateways import Server, Start, eventually
from wise_serve.contract.names import RequestStage
from wise_serve.http.problems import leaves, status_of

EXPECTED = {
    "wise_requests", "wise_request_seconds", "wise_stage_seconds", "wise_thinking_tokens",
    "wise_answer_tokens", "wise_completion_tokens", "wise_prompt_tokens",
    "wise_cached_prompt_tokens", "wise_instances", "wise_inflight_requests",
    "wise_queued_requests", "wise_rejected", "wise_cancelled", "wise_segmenter_batch_size",
    "wise_segmenter_queue_depth", "wise_segmenter_restarts", "wise_segmenter_worker_up",
    "wise_embedding_cache", "wise_image_pixels", "wise_known_images", "wise_build_info",
    "wise_ready", "wise_overlap_seconds",
}  # fmt: skip


async def scrape(server: Server) -> dict[str, list[tuple[str, dict[str, str], float]]]:
    response = await server.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(response.text)
    return {f.name: [(s.name, s.labels, s.value) for s in f.samples] for f in families}


async def test_every_metric_exists_and_counts(start: Start) -> None:
    server = await start()
    await server.form()
    await server.form("")
    families = await scrape(server)
    assert {name for name in families if name.startswith("wise_")} == EXPECTED
    assert (
        "wise_requests_total",
        {"strategy": "wise-s", "status": "found", "code": "200"},
        1.0,
    ) in (families["wise_requests"])
    assert ("wise_requests_total", {"strategy": "none", "status": "error", "code": "422"}, 1.0) in (
        families["wise_requests"]
    )
    stages = {labels["stage"] for _, labels, _ in families["wise_stage_seconds"]}
    assert stages == {
        "admission", "decode", "resize", "reason", "time_to_first_token", "encode",
        "encode_queue", "segment", "segment_queue", "rle",
    }  # fmt: skip
    assert server.sample("wise_prompt_tokens_total") == 1043
    assert server.sample("wise_cached_prompt_tokens_total") == 900
    assert server.sample("wise_thinking_tokens_sum", strategy="wise-s") == 6
    assert server.sample("wise_instances_sum") == 1
    assert server.sample("wise_image_pixels_sum") == 64 * 48


async def test_token_buckets_are_fine_below_30_and_reach_past_200(start: Start) -> None:
    server = await start()
    await server.form()
    samples = (await scrape(server))["wise_thinking_tokens"]
    edges = [float(labels["le"]) for name, labels, _ in samples if name.endswith("_bucket")]
    assert set(range(1, 31)) <= set(edges)
    assert [edge for edge in edges if 200 < edge < float("inf")]


async def test_series_of_the_process_wide_registry_are_appended(start: Start) -> None:
    gauge = Gauge("vllm:num_requests_running", "As vLLM names them")
    try:
        assert "vllm:num_requests_running" in await scrape(await start())
    finally:
        REGISTRY.unregister(gauge)


async def test_a_thousand_random_requests_add_no_series(start: Start) -> None:
    server = await start()
    await server.form("")
    before = {name: len(samples) for name, samples in (await scrape(server)).items()}
    generator = random.Random(5)
    for _ in range(1000):
        word, name, value = ("".join(generator.choices("abcdefgh", k=12)) for _ in range(3))
        path = generator.choice([f"/{word}/%{value[:2]}", f"/segment/{word}", f"/metrics?{word}"])
        method = generator.choice(["GET", "POST", "PUT", "DELETE", "OPTIONS", word.upper()])
        headers = {name: value, "x-request-id": word, "user-agent": value}
        await server.client.request(method, path, headers=headers)
        if generator.random() < 0.2:
            await server.form("", strategy=word)
    after = {name: len(samples) for name, samples in (await scrape(server)).items()}
    assert after == before


async def test_series_exist_before_their_first_event(start: Start) -> None:
    families = await scrape(await start())
    for name, label, values in (
        ("wise_requests", "status", {"found", "no_target", "unparsed", "truncated"}),
        ("wise_rejected", "reason", {"overloaded", "not_ready", "draining"}),
        ("wise_cancelled", "stage", set(get_args(RequestStage))),
        ("wise_segmenter_batch_size", "op", {"encode", "decode"}),
        ("wise_embedding_cache", "result", {"hit", "shared", "miss"}),
    ):
        assert {labels[label] for _, labels, _ in families[name]} == values


async def test_readyz_reports_each_part(start: Start) -> None:
    server = await start()
    assert server.sample("wise_ready", part="gateway") == 1
    server.segmenter.alive = False
    parts = {part: server.sample("wise_ready", part=part) for part in ("reasoner", "segmenter")}
    assert parts == {"reasoner": 1, "segmenter": 0}
    assert server.sample("wise_ready", part="gateway") == 0


async def test_time_of_encoding_during_reasoning_is_counted(start: Start) -> None:
    server = await start(FakeReasoner(delay_s=0.005), FakeSegmenter(encode_s=0.02))
    await server.form()
    assert 0.02 <= server.sample("wise_overlap_seconds_total") <= 0.03


async def test_the_segmenters_worker_is_counted(start: Start) -> None:
    server = await start()
    worker = server.runtime.metrics.segmenter.worker("0")
    worker.batch("decode", 5)
    worker.queue_depth(7)
    worker.restart()
    worker.cache("hit")
    assert server.sample("wise_segmenter_batch_size_sum", worker="0", op="decode") == 5
    assert server.sample("wise_segmenter_queue_depth", worker="0") == 7
    assert server.sample("wise_segmenter_restarts_total", worker="0") == 1
    assert server.sample("wise_embedding_cache_total", worker="0", result="hit") == 1


async def test_probes_answer_at_each_stage(start: Start) -> None:
    server = await start()
    assert (await server.client.get("/livez")).json() == {"status": "alive"}
    assert (await server.client.get("/readyz")).json() == {"status": "ready"}


async def test_a_model_that_does_not_start_is_reported(start: Start) -> None:
    server = await start(reasoner=FakeReasoner(start_error=RuntimeError("x")), ready=False)
    failed: list[bool] = []
    server.runtime.lifecycle.on_failed = lambda: failed.append(True)
    await eventually(lambda: failed == [True])
    assert (await server.client.get("/livez")).status_code == 200
    assert (await server.client.get("/readyz")).status_code == 503


async def test_models_are_stopped_with_the_application(start: Start) -> None:
    server = await start()
    await server.runtime.lifecycle.stop()
    assert server.reasoner.stopped
    assert server.segmenter.stopped


async def test_info_names_models_strategy_and_limits(start: Start) -> None:
    info = (await (await start(max_queries=7)).client.get("/info")).json()
    assert info["models"] == {
        "reasoner": "fake-reasoner",
        "reasoner_adapters": [],
        "segmenter": "fake-segmenter",
        "reasoner_image_size_pixels": 840,
    }
    assert info["limits"]["max_queries"] == 7
    assert info["strategy"] == "wise-s"


async def test_info_shows_batches_and_the_cache_of_each_worker(start: Start) -> None:
    server = await start(device="cpu", segmenter_workers=2, encode_batch_size=3)
    assert (await server.client.get("/info")).json()["segmenter"] == {
        "encode_batch_size": 3,
        "decode_batch_size": 32,
        "embedding_cache_bytes": [256 * 2**20] * 2,
    }


async def test_a_request_id_is_kept_or_made(start: Start) -> None:
    server = await start()
    taken = await server.client.get("/livez", headers={"X-Request-Id": "mine.1"})
    assert taken.headers["x-request-id"] == "mine.1"
    for offered in ("a b", "x" * 65, "<script>"):
        made = await server.client.get("/livez", headers={"X-Request-Id": offered})
        assert made.headers["x-request-id"].startswith("seg-")


async def test_security_headers_are_everywhere(start: Start) -> None:
    server = await start()
    for path in ("/livez", "/nowhere", "/", "/metrics"):
        headers = (await server.client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"


async def test_openapi_documents_every_error_and_both_bodies(start: Start) -> None:
    document = (await (await start()).client.get("/openapi.json")).json()
    segment = document["paths"]["/segment"]["post"]
    for kind in leaves():
        described = segment["responses"][str(status_of(kind))]
        assert f"`{kind.code}`" in described["description"]
        assert "application/problem+json" in described["content"]
    assert set(segment["requestBody"]["content"]) == {"application/json", "multipart/form-data"}
    assert "text/event-stream" in segment["responses"]["200"]["content"]
    assert "application/json" in segment["responses"]["200"]["content"]
    for name in ("Problem", "SegmentResult", "SegmentResults"):
        assert name in document["components"]["schemas"]
    form = segment["requestBody"]["content"]["multipart/form-data"]["schema"]
    body = segment["requestBody"]["content"]["application/json"]["schema"]
    assert set(form["properties"]) == set(body["properties"])
    assert form["properties"]["image"]["format"] == "binary"

    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert (
        set(re.findall(r'"\$ref":"([^"]+)"', json.dumps(document, separators=(",", ":")))) <= known
    )


@pytest.mark.parametrize("lost", ["segmenter", "reasoner"])
async def test_a_model_lost_for_good_ends_the_server(start: Start, lost: str) -> None:
    server = await start()
    failed: list[bool] = []
    server.runtime.lifecycle.on_failed = lambda: failed.append(True)
    if lost == "segmenter":
        server.segmenter.failed, server.segmenter.alive = True, False
    else:
        server.reasoner.alive = False
    assert (await server.client.get("/readyz")).status_code == 503
    await eventually(lambda: failed == [True])
