"""A stage that stalls costs its request's deadline and no more; a caller that is slow, its own."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from fakes import FakeReasoner, FakeSegmenter
from gateways import Server, Start, eventually, on_loopback
from raw_requests import form_bytes, request_bytes

DEADLINE_S, SLACK_S = 0.3, 0.2


async def exchange(port: int, data: bytes) -> tuple[bytes, float]:
    """Send; all that the server answers until it closes, and the seconds until the first of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = asyncio.get_running_loop().time()
    writer.write(data)
    async with asyncio.timeout(8):
        first = await reader.read(64)
        seconds = asyncio.get_running_loop().time() - began
        answer = first + await reader.read()
    writer.close()
    return answer, seconds


async def assert_late(server: Server, request: Any) -> None:
    began = asyncio.get_running_loop().time()
    response = await request
    seconds = asyncio.get_running_loop().time() - began
    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")
    assert DEADLINE_S - 0.01 < seconds < DEADLINE_S + SLACK_S
    assert (server.reasoner.running, server.segmenter.open_now) == (0, 0)


@pytest.mark.parametrize(
    "stalled",
    [
        {"reasoner": FakeReasoner(delay_s=30)},
        {"segmenter": FakeSegmenter(encode_s=30)},
        {"segmenter": FakeSegmenter(decode_s=30)},
    ],
    ids=["reason", "encode", "segment"],
)
async def test_a_stalled_model_is_504_at_the_deadline(
    start: Start, stalled: dict[str, Any]
) -> None:
    server = await start(request_deadline_s=DEADLINE_S, **stalled)
    await assert_late(server, server.form())
    assert server.runtime.admission.inflight == 0


async def test_stalled_image_threads_are_504_at_the_deadline(start: Start) -> None:
    server, hold = await start(request_deadline_s=DEADLINE_S, image_threads=1), threading.Event()
    blocked = asyncio.create_task(server.runtime.threads.run(hold.wait))
    try:
        await assert_late(server, server.form())
        assert (server.runtime.admission.inflight, server.segmenter.opened) == (0, 0)
    finally:
        hold.set()
        await blocked


async def test_a_stalled_queue_is_504_at_the_deadline(start: Start) -> None:
    server = await start(request_deadline_s=DEADLINE_S, max_inflight_requests=1)
    async with server.runtime.admission.slot():
        await assert_late(server, server.form())
    assert (server.runtime.admission.inflight, server.runtime.admission.waiting) == (0, 0)


@pytest.mark.slow
async def test_a_body_that_drips_is_answered_408_and_closed(start: Start) -> None:
    server = await start(body_deadline_s=DEADLINE_S)
    async with on_loopback(server.app) as port:
        answer, seconds = await exchange(port, request_bytes(declared=100_000))
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"request_timeout"' in answer
    assert DEADLINE_S - 0.01 < seconds < DEADLINE_S + SLACK_S
    assert server.runtime.admission.inflight == 0
    assert server.segmenter.opened == 0


async def test_the_bodys_deadline_starts_with_the_slot(start: Start) -> None:
    server = await start(body_deadline_s=DEADLINE_S, max_inflight_requests=1)
    async with server.runtime.admission.slot():
        waiting = asyncio.create_task(server.form())
        await asyncio.sleep(2 * DEADLINE_S)
    assert (await waiting).status_code == 200


async def test_a_head_that_drips_is_answered_408_and_closed(start: Start) -> None:
    server = await start()
    async with on_loopback(server.app, header_deadline_s=DEADLINE_S) as port:
        answer, seconds = await exchange(port, b"POST /segment HTTP/1.1\r\nHost: t\r\n")
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"connection: close\r\n" in answer.lower()
        assert b'"code":"request_timeout"' in answer
        assert DEADLINE_S - 0.01 < seconds < DEADLINE_S + SLACK_S


async def test_single_bytes_of_a_head_do_not_extend_its_deadline(start: Start) -> None:
    server = await start()
    async with on_loopback(server.app, header_deadline_s=DEADLINE_S) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        began = asyncio.get_running_loop().time()
        writer.write(b"GET /livez HTTP/1.1\r\n")
        answer = asyncio.create_task(reader.readline())
        while not answer.done():
            writer.write(b"X: y\r\n")
            await asyncio.sleep(0.05)
            assert asyncio.get_running_loop().time() - began < DEADLINE_S + 0.3
        assert (await answer).startswith(b"HTTP/1.1 408")
        writer.close()


async def test_a_silent_connection_is_closed_without_an_answer(start: Start) -> None:
    server = await start()
    async with on_loopback(server.app, header_deadline_s=DEADLINE_S) as port:
        answer, _ = await exchange(port, b"")
    assert answer == b""


async def test_each_request_on_a_kept_connection_has_a_full_deadline(start: Start) -> None:
    server = await start()
    get = b"GET /livez HTTP/1.1\r\nHost: t\r\n"
    async with on_loopback(server.app, header_deadline_s=DEADLINE_S) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            writer.write(get + b"\r\n")
            assert (await reader.read(4096)).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.6 * DEADLINE_S)  # idle, which is another limit
        writer.write(get)
        async with asyncio.timeout(2):
            assert (await reader.read()).startswith(b"HTTP/1.1 408")
        writer.close()


@pytest.mark.slow
async def test_work_may_last_longer_than_the_heads_deadline(start: Start) -> None:
    server = await start(reasoner=FakeReasoner(delay_s=0.03))
    async with on_loopback(server.app, header_deadline_s=0.5) as port:
        answer, seconds = await exchange(port, form_bytes())
    assert answer.startswith(b"HTTP/1.1 200")
    assert seconds > 0.8


@pytest.mark.slow
async def test_an_answer_that_is_not_read_ends_its_connection(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wise_serve.server.connections._UNREAD_MS", 500)
    monkeypatch.setattr("wise_serve.http.middleware._ERROR_AFTER_DEADLINE_S", 0.1)
    text = "<think>" + "word " * 400_000
    reasoner = FakeReasoner(script=lambda _: text, finish="length")
    server = await start(reasoner=reasoner, request_deadline_s=0.5, max_thinking_tokens=400_000)
    async with on_loopback(server.app) as port:
        before = descriptors()
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(request_bytes(stream=True))
        await eventually(lambda: descriptors() == before + 2)
        await eventually(lambda: descriptors() == before + 1, 5)  # ours alone
        writer.transport.abort()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
