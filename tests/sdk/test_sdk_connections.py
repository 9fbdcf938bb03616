"""What the client sends again, over real connections, and how many callers share it."""

import asyncio
import threading
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from both_clients import FAST, Both
from scripted import ScriptedServer
from steps import Change, CutBody, Disconnect, Problem, Raw, Slow
from wise_client import (
    AsyncClient,
    Client,
    ConnectFailedError,
    ConnectionLostError,
    TimedOutError,
    Timeouts,
    UnexpectedAnswerError,
)


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
def test_a_request_that_the_server_received_is_not_sent_twice(
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


@pytest.mark.slow
def test_a_connection_that_breaks_during_a_request_is_not_replaced(
    server: ScriptedServer, photo: Path
) -> None:
    server.delay_s = 1.2
    with Client(server.url, retry=FAST) as client:
        client.info()
        server.script.append(Disconnect())
        with pytest.raises(ConnectionLostError):
            client.segment(photo, "q")
    assert len(server.received) == 1


def test_a_port_without_a_server_is_an_error(both: Both, photo: Path, nowhere: str) -> None:
    with pytest.raises(ConnectFailedError) as caught:
        both.call(nowhere, "segment", photo, "q")
    assert caught.value.status is None


def test_connections_are_kept(server: ScriptedServer, photo: Path) -> None:
    with Client(server.url) as client:
        for _ in range(5):
            client.segment(photo, "q")
    assert len({one.peer for one in server.received}) == 1


def test_a_server_that_is_not_wise_serve_is_recognised(
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
