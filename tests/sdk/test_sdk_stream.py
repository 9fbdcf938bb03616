"""Streams: events in order, cut anywhere, ended early, failed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from both_clients import Both
from bright import RATIONALE
from scripted import ScriptedServer
from steps import Problem, Raw, event
from steps import Stream as Scripted
from wise_client import (
    Client,
    ConnectionLostError,
    Done,
    InstanceFound,
    InternalServerError,
    MaskReady,
    OverloadedError,
    StreamEvent,
    ThinkingDelta,
    UnexpectedAnswerError,
)


def test_a_stream_gives_its_events_in_order(
    both: Both, server: ScriptedServer, pixels: np.ndarray
) -> None:
    events: list[StreamEvent] = both.call(server.url, "stream", pixels, "q")
    *thinking, found, ready, done = events
    texts = [one.text for one in thinking if isinstance(one, ThinkingDelta)]
    assert len(texts) == len(thinking)
    assert "".join(texts).strip() == RATIONALE
    assert server.received[0].fields == {"query": "q", "stream": "true"}
    assert isinstance(found, InstanceFound)
    assert isinstance(ready, MaskReady)
    assert isinstance(done, Done)
    assert (found.index, found.box) == (0, (10, 5, 30, 25))
    assert (ready.index, ready.score, ready.area) == (0, 0.94, 400)
    assert np.array_equal(ready.mask, pixels[..., 0] > 127)
    assert done.result.query == "q"
    assert done.result.box == found.box
    assert "MaskReady(index=0" in repr(ready)


def test_a_stream_of_a_downscaled_image_is_mapped_back(both: Both, server: ScriptedServer) -> None:
    image = np.zeros((80, 120), np.uint8)
    image[20:60, 40:80] = 255
    events = both.call(server.url, "stream", image, "q", max_side_pixels=60)
    found, ready, done = events[-3:]
    assert np.allclose(found.box, (40, 20, 80, 60), atol=3)
    assert ready.mask.shape == (80, 120)
    assert ready.area == np.count_nonzero(ready.mask)
    assert done.result.mask.shape == (80, 120)


def test_an_object_of_points_alone_has_no_box_until_its_mask(
    both: Both, server: ScriptedServer, jpeg: bytes
) -> None:
    body = server.events(jpeg).replace(b'"box":[10,5,30,25],"points"', b'"box":null,"points"', 1)
    server.script.append(Scripted(body))
    *_, found, ready, done = both.call(server.url, "stream", jpeg, "q")
    assert isinstance(found, InstanceFound)
    assert (found.box, found.points) == (None, ((20, 15), (10, 5)))
    assert (ready.area, done.result.box) == (400, (10, 5, 30, 25))


def test_a_stream_of_several_queries(both: Both, server: ScriptedServer, jpeg: bytes) -> None:
    document = server.answer(jpeg)
    body = event("thinking", {"text": "a", "query_index": 1})
    server.script.append(Scripted(body + event("done", {"results": [document, document]})))
    first, done = both.call(server.url, "stream", jpeg, ["x", "y"])
    assert first == ThinkingDelta("a", 1)
    assert [one.query for one in done.results] == ["x", "y"]
    assert server.received[0].fields == {"queries": ["x", "y"], "stream": True}


@pytest.mark.parametrize("chunk", [1, 2, 5, 10_000])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_a_stream_may_be_cut_into_chunks_anywhere(
    server: ScriptedServer, client: Client, jpeg: bytes, chunk: int, newline: bytes
) -> None:
    body = server.events(jpeg) + b"event: later-version\ndata: {}\n\n"
    server.script.append(Scripted(body.replace(b"\n", newline), chunk))
    events = list(client.stream(jpeg, "größer"))
    assert [type(one) for one in events[-3:]] == [InstanceFound, MaskReady, Done]
    texts = [one.text for one in events[:-3] if isinstance(one, ThinkingDelta)]
    assert "".join(texts).strip() == RATIONALE


def test_a_stream_that_cannot_begin_is_asked_for_again(
    both: Both, server: ScriptedServer, photo: Path
) -> None:
    server.script.append(Problem(503, "draining"))
    assert isinstance(both.call(server.url, "stream", photo, "q")[-1], Done)


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (Problem(429, "overloaded", "99"), OverloadedError),
        (Scripted(event("error", {"code": "internal_error", "status": 500})), InternalServerError),
        (Scripted(event("thinking", {"text": "a"})), ConnectionLostError),
        (Scripted(event("thinking", {"text": "a"}), cut=True), ConnectionLostError),
        (Scripted(b"event: instance\ndata: {}\n\n"), UnexpectedAnswerError),
        (Scripted(b"event: mask\ndata: [\n\n"), UnexpectedAnswerError),
        (Scripted(b"event: done\ndata: 3\n\n"), UnexpectedAnswerError),
        (Raw(200, b"{}", "application/json"), UnexpectedAnswerError),
    ],
)
def test_a_stream_that_fails_raises_and_is_not_sent_again(
    both: Both, server: ScriptedServer, photo: Path, step: Any, kind: type[Exception]
) -> None:
    server.script.append(step)
    with pytest.raises(kind):
        both.call(server.url, "stream", photo, "q")
    assert len(server.received) == 1


def test_leaving_a_stream_early_frees_its_connection(
    server: ScriptedServer, client: Client, photo: Path
) -> None:
    stream = client.stream(photo, "q")
    assert isinstance(next(stream), ThinkingDelta)
    stream.close()
    assert client.segment(photo, "q").status == "found"
