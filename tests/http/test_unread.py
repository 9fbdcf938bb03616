"""Requests that are answered without their body being read, over real sockets."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes import FakeReasoner
from gateways import Server, Start, eventually, on_loopback
from pictures import picture

MIB = 2**20


@pytest.fixture(autouse=True)
def linger_s(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr("wise_serve.http.unread_body._LINGER_S", 0.3)
    return 0.3


def head(length: int, *lines: str) -> bytes:
    first = ["POST /segment HTTP/1.1", "Host: t", "Content-Type: application/json"]
    return "\r\n".join([*first, f"Content-Length: {length}", *lines, "", ""]).encode()


class Caller:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str]]:
        """The next answer's status and headers; its body is read, too."""
        async with asyncio.timeout(5):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            pairs = [line.partition(": ") for line in lines[1:] if line]
            headers = {name.lower(): value for name, _, value in pairs}
            await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(lines[0].split()[1]), headers

    async def ended(self) -> bool:
        """Whether the server closes in order, that is without a reset."""
        async with asyncio.timeout(5):
            return await self.reader.read() == b""


@asynccontextmanager
async def caller(port: int) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Caller(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def full(start: Start, **settings: Any) -> AsyncIterator[tuple[Server, int]]:
    """A server whose only slot is in use."""
    server = await start(
        FakeReasoner(delay_s=30), max_inflight_requests=1, max_queued_requests=0, **settings
    )
    inside = asyncio.create_task(server.form())
    await eventually(lambda: server.runtime.admission.inflight == 1)
    try:
        async with on_loopback(server.app) as port:
            yield server, port
    finally:
        inside.cancel()
        await asyncio.gather(inside, return_exceptions=True)


async def test_a_refusal_is_sent_before_the_body_whose_rest_is_then_discarded(start: Start) -> None:
    async with full(start) as (server, port), caller(port) as one:
        await one.send(head(3 * MIB) + b"x" * 100_000)
        status, headers = await one.answer()
        assert (status, headers["connection"]) == (429, "close")
        assert int(headers["retry-after"]) >= 1
        await one.send(b"x" * (3 * MIB - 100_000))
        assert await one.ended()
        assert server.segmenter.opened == 1  # that of the request inside


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Authorization: Bearer wrong"], 401),
        (["Authorization: Bearer right", "Content-Encoding: gzip"], 415),
        (["Authorization: Bearer right"], 413),
    ],
)
async def test_every_refusal_of_an_unread_body(
    start: Start, tmp_path: Path, lines: list[str], status: int
) -> None:
    (tmp_path / "keys").write_text(hashlib.sha256(b"right").hexdigest())
    server = await start(api_key_file=str(tmp_path / "keys"), max_body_bytes=MIB)
    async with on_loopback(server.app) as port, caller(port) as one:
        await one.send(head(MIB + 1, *lines) + b"x" * 100)
        assert (await one.answer())[0] == status
        await one.send(b"x" * (MIB - 99))
        assert await one.ended()


async def test_a_caller_that_sends_all_before_it_reads_gets_the_answer(start: Start) -> None:
    async with full(start) as (_, port), httpx.AsyncClient() as client:
        for _ in range(10):
            files = {"image": ("a", b"x" * 6 * MIB)}
            got = await client.post(f"http://127.0.0.1:{port}/segment", files=files)
            assert got.status_code == 429


async def test_a_small_body_that_has_arrived_keeps_the_connection(start: Start) -> None:
    async with full(start) as (_, port), caller(port) as one:
        for _ in range(3):
            await one.send(head(2) + b"{}")
            status, headers = await one.answer()
            assert status == 429
            assert "connection" not in headers


async def test_a_refused_body_gets_no_100_continue(start: Start) -> None:
    async with full(start) as (_, port), caller(port) as one:
        await one.send(head(MIB, "Expect: 100-continue"))
        status, headers = await one.answer()  # at once, and no 100 before it
        assert (status, headers["connection"]) == (429, "close")
    server = await start()
    async with on_loopback(server.app) as port, caller(port) as one:
        await one.send(head(2, "Expect: 100-continue"))
        assert (await one.answer())[0] == 100
        await one.send(b"{}")
        assert (await one.answer())[0] == 400


async def test_a_body_that_never_ends_is_not_waited_for(start: Start, linger_s: float) -> None:
    async with full(start) as (_, port), caller(port) as one:
        await one.send(head(MIB) + b"x")
        assert (await one.answer())[0] == 429
        began = asyncio.get_running_loop().time()
        assert await one.ended()
        assert linger_s * 0.5 < asyncio.get_running_loop().time() - began < linger_s + 2


async def test_at_most_the_largest_accepted_body_is_discarded(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wise_serve.http.unread_body._LINGER_S", 30)
    async with full(start, max_body_bytes=MIB) as (_, port), caller(port) as one:
        await one.send(
            head(10**12).replace(b"Content-Length: 1000000000000", b"Transfer-Encoding: chunked")
        )
        assert (await one.answer())[0] == 429
        with pytest.raises(ConnectionError):  # noqa: PT012, whichever send finds it closed
            for _ in range(1000):
                await one.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")


async def test_a_slow_body_is_given_up(start: Start) -> None:
    server = await start(request_deadline_s=0.2)
    async with on_loopback(server.app) as port, caller(port) as one:
        await one.send(head(1000) + b"{")
        status, headers = await one.answer()
        assert (status, headers["connection"]) == (504, "close")
        assert server.runtime.admission.inflight == 0
        assert await one.ended()


async def test_a_body_that_was_read_keeps_the_connection(start: Start) -> None:
    server = await start()
    url = {"url": "/segment", "files": {"image": ("a", picture())}, "data": {"query": "x"}}
    async with on_loopback(server.app) as port:  # noqa: SIM117, the second needs the first
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            for _ in range(2):
                assert "connection" not in (await client.post(**url)).headers  # type: ignore[arg-type]
            assert "connection" not in (await client.get("/livez")).headers
