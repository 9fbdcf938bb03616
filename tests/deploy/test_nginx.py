"""deploy/nginx by Debian's real nginx, before three servers on fakes, under load and kills."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from balanced import arrivals_of, ask, client_of_nginx, lookups
from pictures import picture
from running import free_port, running_server
from scripts import SERVE_FAKES, address, process

IMAGES = [picture(64 + number, 48) for number in range(24)]
TOKEN_S = 0.004


@dataclass
class Balanced:
    """nginx, and the servers behind it."""

    client: httpx.AsyncClient
    servers: list[Process]
    addresses: list[str]

    async def ask(self, number: int) -> httpx.Response:
        return await ask(self.client, IMAGES[number % len(IMAGES)], query="x")


@asynccontextmanager
async def balanced(
    folder: Path, count: int, changed: dict[str, str] | None = None, /, **env: str
) -> AsyncIterator[Balanced]:
    """Servers of this test alone, so that it may end them."""
    async with AsyncExitStack() as stack:
        starts = [process(delay_s=TOKEN_S, **env) for _ in range(count)]
        servers = [await stack.enter_async_context(start) for start in starts]
        addresses = [await address(server) for server in servers]
        client = await stack.enter_async_context(client_of_nginx(folder, addresses, changed))
        yield Balanced(client, servers, addresses)


@pytest.fixture(scope="module")
def shared() -> Iterator[list[str]]:
    """Addresses of three servers that no test ends."""
    path = os.pathsep.join(sys.path)
    with ExitStack() as stack, ThreadPoolExecutor(3) as pool:
        starts = [
            running_server(script=SERVE_FAKES, PYTHONPATH=path, DELAY_S=str(TOKEN_S))
            for _ in range(3)
        ]
        yield [server.url for server in pool.map(stack.enter_context, starts)]


async def test_each_image_is_encoded_once_as_by_one_server(
    shared: list[str], tmp_path: Path
) -> None:
    async with client_of_nginx(tmp_path, shared) as client:
        for _ in range(4):
            answers = await asyncio.gather(*(ask(client, image, query="x") for image in IMAGES))
            assert [answer.status_code for answer in answers] == [200] * len(IMAGES)
        found = await lookups(shared)
        assert sum(one["miss"] for one in found) == len(IMAGES)
        assert sum(one["hit"] for one in found) == 3 * len(IMAGES)
        assert all(one["miss"] for one in found)  # each has a share


async def test_a_drained_and_a_killed_server_lose_nothing_under_load(tmp_path: Path) -> None:
    # Room for what the last server gets alone: else callers are asked to come again, by 429.
    killed = False
    async with balanced(tmp_path, 3, WISE_MAX_QUEUED_REQUESTS="256") as nginx:

        async def ask_again(number: int) -> httpx.Response:
            # A kill may come between an answer's head and its body, which nginx cannot repeat.
            try:
                return await nginx.ask(number)
            except httpx.RemoteProtocolError:
                assert killed, "a drained server cut an answer off"
                return await nginx.ask(number)

        tasks = [asyncio.create_task(ask_again(number)) for number in range(60)]
        await asyncio.sleep(0.2)
        nginx.servers[0].send_signal(signal.SIGTERM)
        tasks += [asyncio.create_task(ask_again(number)) for number in range(60)]
        await asyncio.sleep(0.3)
        killed = True
        nginx.servers[1].kill()
        tasks += [asyncio.create_task(ask_again(number)) for number in range(60)]
        answers = await asyncio.gather(*tasks)
        assert [answer.status_code for answer in answers] == [200] * len(answers)
        for number, answer in enumerate(answers):  # none mixed up: each image has its own width
            assert answer.json()["image"]["width"] == 64 + number % 60 % len(IMAGES)


async def test_a_server_that_comes_back_gets_its_own_images_again(tmp_path: Path) -> None:
    async with balanced(tmp_path, 2, {"fail_timeout=5s": "fail_timeout=1s"}) as nginx:
        lost, base = nginx.servers[0], nginx.addresses[0]
        lost.kill()
        await lost.wait()
        for number in range(len(IMAGES)):
            assert (await nginx.ask(number)).status_code == 200
        async with process(delay_s=TOKEN_S, WISE_PORT=base.rpartition(":")[2]) as again:
            assert await address(again) == base
            async with asyncio.timeout(10):
                while not any((await lookups([base]))[0].values()):
                    answers = [await nginx.ask(number) for number in range(len(IMAGES))]
                    assert {answer.status_code for answer in answers} == {200}


async def test_429_and_retry_after_pass(tmp_path: Path) -> None:
    limits = {"WISE_MAX_INFLIGHT_REQUESTS": "1", "WISE_MAX_QUEUED_REQUESTS": "0"}
    async with balanced(tmp_path, 1, **limits) as nginx:
        answers = await asyncio.gather(*(nginx.ask(0) for _ in range(12)))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert {answer.status_code for answer in answers} == {200, 429}
        for answer in refused:
            assert answer.json()["code"] == "overloaded"
            assert int(answer.headers["retry-after"]) >= 1


async def test_too_many_connections_of_one_address_get_a_429_of_nginx(
    shared: list[str], tmp_path: Path
) -> None:
    async with client_of_nginx(
        tmp_path, shared, {"wise_callers 512;": "wise_callers 4;"}
    ) as client:
        answers = await asyncio.gather(*(ask(client, image, query="x") for image in IMAGES))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(answers) - len(refused) >= 4
        assert refused
        for answer in refused:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["retry-after"] == "1"
            problem = answer.json()
            assert (problem["code"], problem["status"]) == ("overloaded", 429)
            assert "This address" in problem["detail"]  # nginx's own, not a server's
        later = await ask(client, IMAGES[0], query="x")
        assert later.status_code == 200  # the count went down again


async def test_events_of_a_stream_come_one_by_one(shared: list[str], tmp_path: Path) -> None:
    async with client_of_nginx(tmp_path, shared) as client:
        arrivals, whole = await arrivals_of(client, IMAGES[0], "x")
        assert b"event: done" in whole
        assert len(arrivals) > 3
        assert arrivals[-1] - arrivals[0] > 5 * TOKEN_S


async def test_a_servers_own_probes_and_series_are_not_passed_on(
    shared: list[str], tmp_path: Path
) -> None:
    async with client_of_nginx(tmp_path, shared) as client:
        paths = ("/balancer/livez", "/readyz", "/info", "/livez", "/metrics")
        found = [(await client.get(path)).status_code for path in paths]
        assert found == [200, 200, 200, 404, 404]


async def test_without_any_server_the_answer_is_a_problem_with_retry_after(tmp_path: Path) -> None:
    nobody = [f"http://127.0.0.1:{free_port()}" for _ in range(3)]
    async with client_of_nginx(tmp_path, nobody) as client:
        answer = await ask(client, IMAGES[0], query="x")
        assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["retry-after"] == "5"
        large = await client.post("/segment", content=b"x" * (21 * 2**20))
        assert (large.status_code, large.json()["code"]) == (413, "too_large")
        assert (await client.get("/balancer/livez")).status_code == 200
