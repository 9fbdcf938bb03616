"""Both clients against a real HTTP server: what is sent, what comes back, what is sent twice."""

import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from both_clients import Both
from scripted import ScriptedServer
from wise_client import (
    Client,
    InputError,
    Segmentation,
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
def test_wrong_queries_are_reported_before_sending(
    both: Both, server: ScriptedServer, photo: Path, queries: Any
) -> None:
    with pytest.raises(InputError):
        both.call(server.url, "segment_queries", photo, queries)
    with pytest.raises(InputError):
        both.call(server.url, "segment", photo, ["a"])
    with pytest.raises(InputError, match="Unicode"):
        both.call(server.url, "segment", photo, "\udc80")
    assert server.received == []
