"""The page of a cluster's metrics: every replica's series, which Prometheus can sum."""

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from wise_serve.observe.metrics import Metrics
from wise_serve.ray.board import Board, merged

ONE, TWO = ("Segmenter", "a1"), ("Segmenter", "b2")


def page(encodes: int) -> bytes:
    metrics = Metrics()
    for _ in range(encodes):
        metrics.segmenter.worker("0").batch("encode", 3)
    metrics.requests.labels("wise-s", "found", "200").inc(encodes)
    return metrics.expose()


def values(text: bytes, name: str, **labels: str) -> dict[str, float]:
    """By replica, of a series with these labels."""
    return {
        sample.labels["replica"]: sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    }


def test_each_replica_has_its_own_series() -> None:
    text = merged({ONE: page(2), TWO: page(5)})
    assert values(text, "wise_requests_total", status="found") == {"a1": 2, "b2": 5}
    counted = values(text, "wise_segmenter_batch_size_count", op="encode", worker="0")
    assert counted == {"a1": 2, "b2": 5}
    assert values(text, "wise_segmenter_batch_size_bucket", op="encode", le="3.0")["b2"] == 5


def test_a_family_is_announced_once_with_its_type() -> None:
    lines = merged({ONE: page(1), TWO: page(1)}).decode().splitlines()
    for kind in ("wise_requests_total counter", "wise_segmenter_batch_size histogram"):
        assert lines.count(f"# TYPE {kind}") == 1


def test_pages_of_replicas_that_have_ended_are_taken_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr("wise_serve.ray.board.time.monotonic", lambda: clock[0])
    board = Board()
    asyncio.run(board.write(ONE, b"1"))
    clock[0] += 20
    asyncio.run(board.write(TWO, b"2"))
    assert set(asyncio.run(board.read())) == {ONE, TWO}
    clock[0] += 20
    assert set(asyncio.run(board.read())) == {TWO}
