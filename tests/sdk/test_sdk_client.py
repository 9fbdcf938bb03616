"""Both clients against a real HTTP server: what is sent, what comes back, what is sent twice."""

import asyncio
import hashlib
import io
import json
import re
import threading
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from both_clients import FAST, Both
from scripted import ScriptedServer
from steps import Change, CutBody, Disconnect, Problem, Raw, Slow
from wise_client import (
    AsyncClient,
    Client,
    ConnectFailedError,
    ConnectionLostError,
    InputError,
    Segmentation,
    TimedOutError,
    Timeouts,
    UnexpectedAnswerError,
)


def test_one_query_goes_as_multipart(both: Both, server: ScriptedServer, photo: Path) -> None:
    result = both.call(server.url, "segment", photo, "Größe?", strategy="wise", max_instances=3)
    (received,) = server.received
    assert received.path == "/segment"
    assert received.image == photo.read_bytes()
    assert received.image_type == "image/jpeg"
    assert received.fields == {"query": "Größe?", "strategy": "wise", "max_instances": "3"}
    assert received.headers["user-agent"].startswith("wise-client/")
    assert "authorization" not in received.headers
    assert result.box == (10, 5, 30, 25)


def test_each_request_names_its_image_for_a_balancer(
    both: Both, server: ScriptedServer, photo: Path
) -> None:
    both.call(server.url, "segment", photo, "a")
    both.call(server.url, "segment", photo.read_bytes(), "b")
    digests = {received.headers["x-image-digest"] for received in server.received}
    assert digests == {hashlib.sha256(photo.read_bytes()).hexdigest()}


def test_several_queries_go_as_json(both: Both, server: ScriptedServer, photo: Path) -> None:
    results = both.call(server.url, "segment_queries", photo, ["a", "nothing", "b"])
    (received,) = server.received
    assert received.headers["content-type"] == "application/json"
    assert received.image == photo.read_bytes()
    assert received.fields == {"queries": ["a", "nothing", "b"], "stream": False}
    assert [one.status for one in results] == ["found", "no_target", "found"]
    assert [one.query for one in results] == ["a", "nothing", "b"]


def test_the_result_is_typed(both: Both, server: ScriptedServer, pixels: np.ndarray) -> None:
    result: Segmentation = both.call(server.url, "segment", pixels, "q")
    (one,) = result.instances
    assert np.array_equal(one.mask, pixels[..., 0] > 127)
    assert one.mask.dtype == bool
    assert one.mask is one.mask  # decoded once
    assert np.array_equal(result.mask, one.mask)
    assert (result.points, result.score, one.area) == (((20, 15), (10, 5)), 0.94, 400)
    assert (result.usage.thinking_tokens, result.usage.completion_tokens) == (6, 55)
    assert 0 < result.timing.reason_ms < result.timing.total_ms
    assert result.model.strategy == "wise-s"
    assert result.reasoning == "bright, so this is it"
    shown = r"Segmentation\(found, 1 instance, 60x40, 6 thinking tokens, \d+ ms\)"
    assert re.fullmatch(shown, repr(result))
    assert repr(one) == "Instance(box=(10, 5, 30, 25), score=0.94)"


@pytest.mark.parametrize("mask_format", ["rle", "png", "polygon"])
def test_every_mask_format_gives_the_same_mask(
    both: Both, server: ScriptedServer, pixels: np.ndarray, mask_format: str
) -> None:
    result = both.call(server.url, "segment", pixels, "q", mask_format=mask_format)
    assert np.array_equal(result.mask, pixels[..., 0] > 127)


def test_downscaled_answers_are_in_the_originals_pixels(both: Both, server: ScriptedServer) -> None:
    large = np.zeros((400, 603), np.uint8)
    large[100:300, 201:402] = 255
    result: Segmentation = both.call(server.url, "segment", large, "q", max_side_pixels=67)
    sent = Image.open(io.BytesIO(server.received[0].image))
    assert sent.size == (67, 44)
    assert result.size == (603, 400)
    assert result.mask.shape == (400, 603)
    step = 10  # one sent pixel is nine of the original's
    assert np.allclose(result.box or (), (201, 100, 402, 300), atol=step)
    overlap = np.count_nonzero(result.mask & (large > 0)) / np.count_nonzero(large)
    assert overlap > 0.9
    (one,) = result.instances
    assert one.area == np.count_nonzero(one.mask)
    again = Segmentation.from_dict(json.loads(json.dumps(result.to_dict())))
    assert (again.size, again.box, again.points) == (result.size, result.box, result.points)
    assert np.array_equal(again.mask, result.mask)


def test_x_and_y_are_mapped_back_apart(server: ScriptedServer, client: Client) -> None:
    strip = np.full((7, 900), 255, np.uint8)  # sent as 30 x 1: 30 times in x, 7 times in y
    result = client.segment(strip, "q", max_side_pixels=30)
    assert result.box == (0, 0, 900, 7)
    assert result.points == ((450, 0), (0, 0))
    assert result.mask.all()


def test_the_key_is_sent_as_bearer(server: ScriptedServer, photo: Path) -> None:
    with Client(server.url, "k-1") as client:
        client.segment(photo, "q")
    assert server.received[0].headers["authorization"] == "Bearer k-1"


def test_info_names_models_strategy_and_limits(both: Both, server: ScriptedServer) -> None:
    assert both.call(server.url, "info")["strategy"] == "wise-s"


@pytest.mark.parametrize("queries", [[], "text", ["a", 3]])
def test_wrong_queries_are_told_before_sending(
    both: Both, server: ScriptedServer, photo: Path, queries: Any
) -> None:
    with pytest.raises(InputError):
        both.call(server.url, "segment_queries", photo, queries)
    with pytest.raises(InputError):
        both.call(server.url, "segment", photo, ["a"])
    with pytest.raises(InputError, match="Unicode"):
        both.call(server.url, "segment", photo, "\udc80")
    assert server.received == []


# -- what is sent again, over real connections ---------------------------------------------------


def test_a_busy_server_is_asked_again(both: Both, server: ScriptedServer, photo: Path) -> None:
    server.script.extend([Problem(429, "overloaded"), Problem(503, "not_ready")])
    assert both.call(server.url, "segment", photo, "q").status == "found"
    assert len(server.received) == 3
    assert len({one.headers["x-request-id"] for one in server.received}) == 1
    assert len({one.image for one in server.received}) == 1


def test_retry_after_is_waited_for(server: ScriptedServer, photo: Path) -> None:
    server.script.append(Problem(429, "overloaded", retry_after="3"))
    waits: list[float] = []
    with Client(server.url, retry=FAST, sleep=waits.append) as client:
        client.segment(photo, "q")
    assert waits == [3.0]


@pytest.mark.parametrize("step", [Disconnect(), CutBody()])
def test_a_taken_request_is_not_sent_twice(
    both: Both, server: ScriptedServer, photo: Path, step: Any
) -> None:
    server.script.append(step)
    with pytest.raises(ConnectionLostError) as caught:
        both.call(server.url, "segment", photo, "q")
    assert len(server.received) == 1
    assert caught.value.request_id == server.received[0].headers["x-request-id"]


def test_a_slow_answer_is_not_asked_for_twice(
    both: Both, server: ScriptedServer, photo: Path
) -> None:
    server.script.append(Slow(0.5))
    with pytest.raises(TimedOutError) as caught:
        both.call(server.url, "segment", photo, "q", timeouts=Timeouts(read_s=0.1))
    assert caught.value.phase == "read"
    assert len(server.received) == 1


def test_a_kept_connection_that_the_server_closes_at_once_is_replaced(
    server: ScriptedServer, photo: Path
) -> None:
    with Client(server.url, retry=FAST) as client:
        client.segment(photo, "first")
        server.script.append(Disconnect())
        assert client.segment(photo, "second").status == "found"
    assert server.queries == ["first", "second", "second"]


def test_a_kept_connection_that_breaks_later_is_not(server: ScriptedServer, photo: Path) -> None:
    server.delay_s = 1.2
    with Client(server.url, retry=FAST) as client:
        client.info()
        server.script.append(Disconnect())
        with pytest.raises(ConnectionLostError):
            client.segment(photo, "q")
    assert len(server.received) == 1


def test_nobody_listening(both: Both, photo: Path, nowhere: str) -> None:
    with pytest.raises(ConnectFailedError) as caught:
        both.call(nowhere, "segment", photo, "q")
    assert caught.value.status is None


def test_connections_are_kept(server: ScriptedServer, photo: Path) -> None:
    with Client(server.url) as client:
        for _ in range(5):
            client.segment(photo, "q")
    assert len({one.peer for one in server.received}) == 1


def test_another_http_server_is_told_as_such(
    both: Both, server: ScriptedServer, photo: Path
) -> None:
    def fewer(document: dict[str, Any]) -> Any:
        return {name: value for name, value in document.items() if name != "instances"}

    for step in (Raw(200, b"<html>"), Raw(200, b"[]"), Raw(200, b"null"), Change(fewer)):
        server.script.append(step)
        with pytest.raises(UnexpectedAnswerError) as caught:
            both.call(server.url, "segment", photo, "q")
        assert caught.value.status == 200
        assert caught.value.request_id == "srv-7"
    server.script.append(Change(lambda document: {"results": document["results"][:1]}))
    with pytest.raises(UnexpectedAnswerError):
        both.call(server.url, "segment_queries", photo, ["a", "b"])


# -- many threads, and a loop that stays free ----------------------------------------------------


def test_one_client_serves_many_threads(server: ScriptedServer, photo: Path) -> None:
    server.delay_s = 0.1
    seen: list[str] = []
    with Client(server.url) as client:

        def ask(i: int) -> None:
            seen.append(client.segment(photo, f"{i}").query)

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(seen, key=int) == [str(i) for i in range(16)]
    assert server.most_busy >= 8  # at once, not one after the other


async def test_encoding_an_image_does_not_block_the_loop(server: ScriptedServer) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), np.uint8)
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            start = time.monotonic()
            await asyncio.sleep(0.005)
            longest = max(longest, time.monotonic() - start)

    watcher: Awaitable[None] = asyncio.create_task(watch())
    async with AsyncClient(server.url) as client:
        start = time.monotonic()
        await client.segment(noise, "q")
        took = time.monotonic() - start
    watcher.cancel()  # type: ignore[attr-defined]
    assert longest < took / 2
