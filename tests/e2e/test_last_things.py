"""How a real server ends when it must: each of these has a server of its own."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from processes import Process, family, shared_memory, wait_until
from running import RunningServer, running_server
from server_load import client_of, load, status, until_metric

DRAIN_S = 2.0
SMALL = ("--kv-cache-bytes", str(64 * 2**20), "--drain-deadline-s", str(DRAIN_S))
# Servers that start together: most of a start is one process after the other, on one core.
GROUPS = (("engine", "gateway", "segmenter"), ("limit", "second"))

Doomed = Callable[[str], tuple[RunningServer, dict[str, Process]]]


@pytest.fixture(scope="module")
def doomed() -> Iterator[Doomed]:
    """`doomed(name)`: a server nobody else uses, and its processes."""
    started: dict[str, tuple[RunningServer, dict[str, Process]]] = {}
    with ExitStack() as stack:

        def start(name: str) -> tuple[RunningServer, dict[str, Process]]:
            running = running_server(*SMALL)
            server = stack.enter_context(running)
            return server, family(server.pid)

        def get(name: str) -> tuple[RunningServer, dict[str, Process]]:
            if name not in started:
                group = next(group for group in GROUPS if name in group)
                with ThreadPoolExecutor(len(group)) as pool:
                    started.update(zip(group, pool.map(start, group), strict=True))
            return started[name]

        yield get
        for _, members in started.values():
            for process in members.values():
                process.signal(signal.SIGKILL)


async def drip(url: str) -> bytes:
    """What the server answers to a body that never ends, up to the connection's end.

    Raw, since an HTTP client reads no answer while its own body is still going out. A connection
    that is reset while bytes of the body are unread ends what was answered as a closed one does.
    """
    address = httpx.URL(url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    head = "POST /segment HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())

    async def body() -> None:
        while True:
            writer.write(b"1\r\n \r\n")
            await asyncio.sleep(0.2)

    dripping = asyncio.create_task(body())
    answer = bytearray()
    try:
        with suppress(ConnectionResetError):
            while data := await reader.read(4096):
                answer += data
        return bytes(answer)
    finally:
        dripping.cancel()
        writer.close()


def assert_no_orphans(members: dict[str, Process], within_s: float) -> None:
    wait_until(lambda: all(process.gone for process in members.values()), within_s)


async def test_a_killed_engine_fails_its_requests_at_once_and_ends_the_server(
    doomed: Doomed,
) -> None:
    server, members = doomed("engine")
    async with client_of(server) as client:
        other = asyncio.create_task(drip(server.url))
        tasks = load(client, 12)
        await until_metric(client, "wise_inflight_requests", 13)
        members["engine"].signal(signal.SIGKILL)
        killed_at = time.monotonic()
        responses = await asyncio.gather(*tasks)
        assert time.monotonic() - killed_at < 1
        lost = [response for response in responses if response.status_code == 503]
        assert {response.json()["code"] for response in lost} == {"reasoner_lost"}
        assert {response.status_code for response in responses} <= {200, 503}
        with suppress(httpx.TransportError):  # it does not listen any more
            assert await status(client) == 503
        assert (await other).startswith(
            b"HTTP/1.1 503"
        )  # answered, although the engine never had the request
    assert await asyncio.to_thread(server.process.wait, 30) == 1
    assert_no_orphans(members, 5)


async def test_a_killed_gateway_leaves_no_orphan(doomed: Doomed) -> None:
    server, members = doomed("gateway")
    assert {"engine", "segmenter"} <= set(members)
    before = shared_memory()
    async with client_of(server) as client:
        tasks = load(client, 12)
        await until_metric(client, "wise_inflight_requests", 12)
        members["gateway"].signal(signal.SIGKILL)
        await asyncio.gather(*tasks, return_exceptions=True)
    assert_no_orphans(members, 5)
    assert shared_memory() <= before


async def test_three_deaths_of_the_segmenter_end_the_server(doomed: Doomed) -> None:
    server, members = doomed("segmenter")
    killed: set[int] = set()
    for _ in range(3):
        wait_until(lambda: family(server.pid).get("segmenter", members["gateway"]).pid
                   not in {*killed, server.pid}, 30)  # fmt: skip
        victim = family(server.pid)["segmenter"]
        killed.add(victim.pid)
        victim.signal(signal.SIGKILL)
    async with client_of(server) as client:
        with suppress(httpx.TransportError):  # once it does not listen any more
            async with asyncio.timeout(10):
                while True:
                    assert await status(client) == 503
                    await asyncio.sleep(0.05)
    assert await asyncio.to_thread(server.process.wait, 30) == 1
    assert_no_orphans(members, 5)


async def test_past_its_limit_a_drain_stops_hard(doomed: Doomed) -> None:
    server, members = doomed("limit")
    async with client_of(server) as client:
        members["engine"].signal(signal.SIGSTOP)  # what is inside does not end by itself
        tasks = load(client, 4)
        await until_metric(client, "wise_inflight_requests", 4)
        server.process.send_signal(signal.SIGTERM)
        asked_at = time.monotonic()
        responses = await asyncio.gather(*tasks)
        assert DRAIN_S <= time.monotonic() - asked_at < DRAIN_S + 3
        assert [(each.status_code, each.json()["code"]) for each in responses] == (
            [(503, "draining")] * 4
        )
    await asyncio.to_thread(server.process.wait, 30)
    assert_no_orphans(members, 5)


async def test_a_second_signal_stops_at_once(doomed: Doomed) -> None:
    server, members = doomed("second")
    async with client_of(server) as client:
        members["engine"].signal(signal.SIGSTOP)
        tasks = load(client, 4)
        await until_metric(client, "wise_inflight_requests", 4)
        server.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        signalled_at = time.monotonic()
        assert await asyncio.to_thread(server.process.wait, 30) == 1
        assert time.monotonic() - signalled_at < 1
        await asyncio.gather(*tasks, return_exceptions=True)
    assert_no_orphans(members, 5)


def test_a_signal_during_loading_ends_the_server_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "wise_serve", "serve", "--port", "0", *SMALL]
    log = tmp_path / "log"
    with log.open("wb") as errors, subprocess.Popen(command, stderr=errors) as process:
        try:
            wait_until(lambda: b'"listening"' in log.read_bytes(), 60)
            time.sleep(3)  # the engine core is on its way
            members = family(process.pid)
            process.send_signal(signal.SIGTERM)
            assert process.wait(4) == 0
        finally:
            process.kill()
    assert_no_orphans(members, 30)  # one that was still importing looks for its parent then
