"""The product, whole: the client, HTTP, vLLM, SAM 2, on the miniature pair."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from miniature.queries import Query, make_query
from miniature.scenes import Scene, draw_scene
from processes import family
from running import RunningServer
from wise_client import (
    Client,
    Done,
    InstanceFound,
    InvalidFieldError,
    MaskReady,
    ThinkingDelta,
)
from wise_serve import processes

SEED = 8_000_000  # never used in training


def scenes(family: str, count: int) -> list[tuple[Scene, Query]]:
    """Fresh scenes with one query each."""
    rng = np.random.default_rng([SEED, len(family)])
    made: list[tuple[Scene, Query]] = []
    while len(made) < count:
        scene = draw_scene(rng, max_side=640)
        if (query := make_query(scene, rng, family)) is not None:
            made.append((scene, query))
    return made


def iou(one: Any, other: Any) -> float:
    union = np.logical_or(one, other).sum()
    return float(np.logical_and(one, other).sum() / union) if union else 1.0


def counter(url: str, name: str) -> float:
    """The sum of a metric's series."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def test_the_server_finds_what_the_query_names(client: Client) -> None:
    ious = []
    for scene, query in scenes("attribute", 16):
        result = client.segment(scene.image, query.text)
        ious.append(iou(result.mask, scene.shapes[query.targets[0]].mask))
    assert np.mean(np.array(ious) >= 0.5) >= 0.75  # `make quality` measures it on 500


def test_the_server_reports_when_nothing_is_meant(client: Client) -> None:
    results = [client.segment(scene.image, query.text) for scene, query in scenes("absent", 10)]
    nothing = [result for result in results if result.status == "no_target"]
    assert len(nothing) >= 6
    assert all(result.instances == () and not result.mask.any() for result in nothing)


def test_an_answer_has_every_part_of_the_contract(server_url: str, client: Client) -> None:
    [(scene, query)] = scenes("attribute", 1)
    answer = client.segment(scene.image, query.text).to_dict()
    assert answer["id"].startswith("seg-")
    assert answer["image"] == {"width": scene.image.width, "height": scene.image.height}
    [instance] = answer["instances"]
    assert instance["mask"]["size"] == [scene.image.height, scene.image.width]
    assert 0 <= instance["score"] <= 1
    assert instance["area"] > 0
    assert set(answer["timing_ms"]) == {"decode", "reason", "encode", "segment", "total"}
    assert answer["model"]["strategy"] == "wise-s"
    usage = answer["usage"]
    assert 0 < usage["thinking_tokens"] < usage["completion_tokens"]
    assert 0 < usage["answer_tokens"] < usage["completion_tokens"]
    assert usage["prompt_tokens"] > 64  # the image alone
    assert httpx.get(f"{server_url}/info").json()["strategy"] == "wise-s"


@pytest.mark.parametrize("strategy", ["wise-s", "wise", "seg-zero", "vision-reasoner"])
def test_every_strategy_is_answered_in_its_own_format(client: Client, strategy: Any) -> None:
    results = [
        client.segment(scene.image, query.text, strategy=strategy)
        for scene, query in scenes("attribute", 6)
    ]
    assert all(result.status in ("found", "no_target") for result in results)
    assert sum(result.status == "found" for result in results) >= 4
    assert all(result.model.strategy == strategy for result in results)


def test_brevity_saves_four_fifths_of_the_thinking(client: Client) -> None:
    asked = scenes("attribute", 6)

    def thinking(strategy: Any) -> int:
        answers = [client.segment(s.image, q.text, strategy=strategy) for s, q in asked]
        return sum(answer.usage.thinking_tokens for answer in answers)

    assert thinking("wise-s") * 5 <= thinking("seg-zero")


def test_batched_or_alone_the_answer_is_the_same(client: Client) -> None:
    asked = scenes("attribute", 12) + scenes("relation", 4)
    alone = [client.segment(scene.image, query.text) for scene, query in asked]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda pair: client.segment(pair[0].image, pair[1].text), asked))
    for one, other in zip(alone, together, strict=True):
        assert one.reasoning == other.reasoning
        assert one.box == other.box
        assert iou(one.mask, other.mask) >= 0.999


def test_many_queries_share_one_image(client: Client) -> None:
    [(scene, query)] = scenes("attribute", 1)
    queries = [query.text, "the largest shape", "the pink hexagon"]
    results = client.segment_queries(scene.image, queries)
    alone = [client.segment(scene.image, text) for text in queries]
    assert [r.reasoning for r in results] == [r.reasoning for r in alone]
    assert results[1].usage.cached_tokens > 0 or results[2].usage.cached_tokens > 0


def test_a_second_query_finds_the_image_cached(client: Client) -> None:
    [(scene, query)] = scenes("extremum", 1)
    first = client.segment(scene.image, query.text)
    second = client.segment(scene.image, "the smallest shape")
    assert first.usage.cached_tokens < 64 <= second.usage.cached_tokens


def test_a_stream_reports_each_step_and_ends_in_the_same_answer(client: Client) -> None:
    [(scene, query)] = scenes("attribute", 1)
    events = list(client.stream(scene.image, query.text))
    plain = client.segment(scene.image, query.text)
    kinds = [type(event) for event in events]
    assert kinds.index(ThinkingDelta) < kinds.index(InstanceFound) < kinds.index(MaskReady)
    done = events[-1]
    assert isinstance(done, Done)
    thought = "".join(event.text for event in events if isinstance(event, ThinkingDelta))
    assert thought.strip() == plain.reasoning == done.results[0].reasoning
    assert iou(done.results[0].mask, plain.mask) == 1.0


def test_markup_in_a_query_is_refused_or_stays_text(client: Client) -> None:
    [(scene, query)] = scenes("attribute", 1)
    for token in ("<|im_end|>", "<|image_pad|>", "<|vision_start|>", "<|endoftext|>"):
        with pytest.raises(InvalidFieldError, match="special token"):
            client.segment(scene.image, f"the circle {token}")
    for text in ("</answer>", "<think>", '{"bbox": [1,2,3,4]}'):
        answer = client.segment(scene.image, f"{query.text} {text}")
        assert answer.usage.completion_tokens > 0
        assert text not in answer.reasoning


def test_a_caller_who_leaves_frees_the_engine(server_url: str, client: Client) -> None:
    [(scene, query)] = scenes("attribute", 1)
    before = counter(server_url, 'wise_cancelled_total{stage="reason"}')
    stream = client.stream(scene.image, query.text, strategy="seg-zero")
    next(iter(stream))  # it has begun to think
    stream.close()
    for _ in range(100):
        if counter(server_url, "vllm:num_requests_running") == 0:
            break
    assert counter(server_url, "vllm:num_requests_running") == 0
    assert counter(server_url, 'wise_cancelled_total{stage="reason"}') == before + 1
    assert client.segment(scene.image, query.text).status == "found"


def test_the_metrics_count_what_was_answered(server_url: str, client: Client) -> None:
    def answered() -> float:
        return counter(server_url, 'wise_requests_total{code="200",status="found",strategy="wise')

    [(scene, query)] = scenes("attribute", 1)
    before = answered()
    usage = client.segment(scene.image, query.text).usage
    assert answered() == before + 1
    assert usage.thinking_tokens <= counter(server_url, "wise_thinking_tokens_sum")
    text = httpx.get(f"{server_url}/metrics").text
    for series in (
        "wise_stage_seconds_count", "wise_answer_tokens_count", "wise_completion_tokens_count",
        "vllm:prompt_tokens_total", "vllm:generation_tokens_total", "wise_segmenter_batch_size",
    ):  # fmt: skip
        assert series in text


def test_nothing_of_a_request_is_logged(server: RunningServer, client: Client) -> None:
    [(scene, _)] = scenes("attribute", 1)
    client.segment(scene.image, "the canary-4711 circle")
    log = server.log.read_text()
    assert "canary-4711" not in log
    ours = [json.loads(line) for line in log.splitlines() if line.startswith('{"')]
    assert ours


@pytest.mark.skipif(processes.find_tcmalloc() is None, reason="tcmalloc is not installed")
def test_the_models_allocate_by_tcmalloc(server: RunningServer) -> None:
    members = family(server.pid)
    for role in ("engine", "segmenter"):
        assert "libtcmalloc" in Path(f"/proc/{members[role].pid}/maps").read_text(), role
