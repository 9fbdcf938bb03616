"""Callers that leave, over real sockets: all of their work ends."""

import asyncio
import threading

import httpx
import pytest

from fakes import FakeReasoner, FakeSegmenter
from gateways import Server, Start, eventually, on_loopback
from pictures import picture
from raw_requests import form_bytes, request_bytes


async def leave(port: int, data: bytes, condition: object, server: Server, others: int = 0) -> None:
    """Send, wait until the server is at `condition`, and close."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await writer.drain()
    await eventually(condition)  # type: ignore[arg-type]
    writer.close()
    await writer.wait_closed()
    await eventually(lambda: server.runtime.admission.inflight == others)


@pytest.mark.parametrize("stream", [False, True])
async def test_leaving_while_it_reasons(start: Start, stream: bool) -> None:
    server = await start(reasoner=FakeReasoner(delay_s=0.05))
    async with on_loopback(server.app) as port:
        await leave(
            port, request_bytes(stream=stream), lambda: server.reasoner.running == 1, server
        )
    assert (server.reasoner.running, server.reasoner.aborted) == (0, 1)
    assert server.segmenter.open_now == 0
    assert server.sample("wise_cancelled_total", stage="reason") == 1


async def test_leaving_while_a_mask_is_made(start: Start) -> None:
    server = await start(segmenter=FakeSegmenter(decode_s=30))
    async with on_loopback(server.app) as port:
        at_mask = lambda: server.segmenter.prompts and not server.reasoner.running  # noqa: E731
        await leave(port, request_bytes(), at_mask, server)
    assert server.segmenter.open_now == 0
    assert server.sample("wise_cancelled_total", stage="segment") == 1


@pytest.mark.slow
async def test_leaving_the_queue_frees_the_place_at_once(start: Start) -> None:
    server = await start(
        reasoner=FakeReasoner(delay_s=0.02), max_inflight_requests=1, max_queued_requests=1
    )
    admission = server.runtime.admission
    async with on_loopback(server.app) as port:
        inside = asyncio.create_task(server.form())
        await eventually(lambda: admission.inflight == 1)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_bytes())
        await eventually(lambda: admission.waiting == 1)
        writer.close()
        await eventually(lambda: admission.waiting == 0, 0.5)
        assert (admission.inflight, inside.done()) == (1, False)
        assert (await inside).status_code == 200
    assert server.sample("wise_cancelled_total", stage="admission") == 1
    assert len(server.reasoner.requests) == 1


async def test_leaving_while_the_image_waits_to_be_decoded(start: Start) -> None:
    server, hold = await start(image_threads=1), threading.Event()
    blocked = asyncio.create_task(server.runtime.threads.run(hold.wait))
    try:
        queue = server.runtime.threads._pool._work_queue
        async with on_loopback(server.app) as port:
            at_decode = lambda: queue.qsize() == 1  # noqa: E731
            await leave(port, form_bytes(), at_decode, server)
        assert server.sample("wise_cancelled_total", stage="decode") == 1
    finally:
        hold.set()
        await blocked
    assert (server.segmenter.opened, server.reasoner.requests) == (0, [])


async def test_leaving_while_the_image_is_encoded(start: Start) -> None:
    server = await start(segmenter=FakeSegmenter(encode_s=30))
    async with on_loopback(server.app) as port:
        stage = {"stage": "reason"}
        reasoned = lambda: server.sample("wise_stage_seconds_count", **stage) == 1  # noqa: E731
        await leave(port, request_bytes(), reasoned, server)
    assert (server.segmenter.open_now, server.reasoner.aborted) == (0, 0)
    assert server.sample("wise_cancelled_total", stage="segment") == 1


async def test_leaving_while_the_answer_is_written(start: Start) -> None:
    """The stream stalls on a caller that does not read; its leaving ends everything of it."""
    text = "<think>" + "word " * 400_000
    reasoner = FakeReasoner(script=lambda _: text, finish="length")
    server = await start(reasoner=reasoner, max_thinking_tokens=400_000)
    async with on_loopback(server.app) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(request_bytes(stream=True))
        await eventually(lambda: reasoner.running == 1)
        written = -1
        while written != len(reasoner._vocabulary):  # until no more fits
            written = len(reasoner._vocabulary)
            await asyncio.sleep(0.1)
        writer.transport.abort()
        await eventually(lambda: server.runtime.admission.inflight == 0)
    assert (reasoner.running, reasoner.aborted, server.segmenter.open_now) == (0, 1, 0)
    assert server.sample("wise_cancelled_total", stage="reason") == 1


@pytest.mark.slow
async def test_a_caller_who_leaves_does_not_disturb_the_others(start: Start) -> None:
    server = await start(reasoner=FakeReasoner(delay_s=0.01))
    alone = (await server.form()).json()
    async with on_loopback(server.app) as port:
        others = [asyncio.create_task(server.form()) for _ in range(4)]
        await leave(port, request_bytes(), lambda: server.reasoner.running == 5, server, 4)
        answers = [(await other).json() for other in others]
    assert all(answer["instances"] == alone["instances"] for answer in answers)
    assert server.reasoner.aborted == 1


async def test_answered_requests_do_not_count_as_left(start: Start) -> None:
    server = await start()
    async with on_loopback(server.app) as port, httpx.AsyncClient() as client:
        for stream in (False, True) * 10:
            got = await client.post(
                f"http://127.0.0.1:{port}/segment",
                files={"image": ("a.png", picture())},
                data={"query": "x", "stream": str(stream)},
            )
            assert got.status_code == 200
    families = server.runtime.metrics.cancelled.collect()
    samples = [sample for family in families for sample in family.samples]
    assert samples
    assert {sample.value for sample in samples} == {0.0}


async def test_leaving_with_half_a_body(start: Start) -> None:
    server = await start()
    async with on_loopback(server.app) as port:
        inside = lambda: server.runtime.admission.inflight == 1  # noqa: E731
        await leave(port, request_bytes(declared=10_000), inside, server)
    assert server.reasoner.requests == []
    assert server.sample("wise_cancelled_total", stage="body") == 1


async def test_a_body_beyond_the_limit_is_answered_on_a_socket(start: Start) -> None:
    server = await start(max_body_bytes=2000)
    async with on_loopback(server.app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = "POST /segment HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(200):
            writer.write(b"3e8\r\n" + b" " * 1000 + b"\r\n")
        assert b"413" in await asyncio.wait_for(reader.readline(), 2)
        writer.close()
    assert server.runtime.admission.inflight == 0


async def test_a_reader_that_does_not_read_is_cut_off(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wise_serve.http.middleware._ERROR_AFTER_DEADLINE_S", 0.1)
    text = "<think>" + "word " * 400_000
    reasoner = FakeReasoner(script=lambda _: text, finish="length")
    server = await start(reasoner=reasoner, request_deadline_s=0.5, max_thinking_tokens=400_000)
    async with on_loopback(server.app) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(request_bytes(stream=True))
        await eventually(lambda: reasoner.running == 1)
        await eventually(lambda: server.runtime.admission.inflight == 0)
        writer.close()
    assert (reasoner.running, server.segmenter.open_now) == (0, 0)
