"""deploy/nginx before two servers on the miniature, of which one is stopped in the end.

In the order of this file; the last test ends the second server.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from balanced import arrivals_of, ask, client_of_nginx, lookups
from running import RunningServer
from server_load import client_of, until_metric
from soak_traffic import draw_cases

IMAGES = draw_cases(16, seed=18)
ROUNDS = 4
SLOTS, QUEUE_PLACES = 64, 64  # a server's, by default


@pytest.fixture(scope="module")
def second(optioned_server: RunningServer) -> RunningServer:
    return optioned_server


@asynccontextmanager
async def before(
    folder: Path, *servers: RunningServer
) -> AsyncIterator[tuple[httpx.AsyncClient, list[str]]]:
    addresses = [server.url for server in servers]
    async with client_of_nginx(folder, addresses) as client:
        yield client, addresses


async def ask_case(client: httpx.AsyncClient, number: int) -> httpx.Response:
    case = IMAGES[number % len(IMAGES)]
    answer = await ask(client, case.image, query=case.query)
    if answer.status_code == 200:  # none mixed up: each image has a size of its own
        size = answer.json()["image"]
        assert (size["height"], size["width"]) == case.size
    return answer


async def test_the_embedding_cache_is_hit_as_often_as_with_one_server(
    server: RunningServer, second: RunningServer, tmp_path: Path
) -> None:
    async with before(tmp_path, server, second) as (client, addresses):
        earlier = await lookups(addresses)
        found = set(range(len(IMAGES)))  # what is not found needs no embedding
        for _ in range(ROUNDS):
            answers = await asyncio.gather(*(ask_case(client, n) for n in range(len(IMAGES))))
            assert {answer.status_code for answer in answers} == {200}
            found -= {n for n, answer in enumerate(answers) if answer.json()["status"] != "found"}
        counted = [
            {result: now[result] - then[result] for result in now}
            for then, now in zip(earlier, await lookups(addresses), strict=True)
        ]
        # One server encodes each image once, and finds it in every later round.
        assert len(found) > len(IMAGES) // 2
        assert len(found) <= sum(one["miss"] for one in counted) <= len(IMAGES)
        assert sum(one["hit"] for one in counted) >= (ROUNDS - 1) * len(found)
        assert all(one["miss"] for one in counted)  # each has a share


async def test_tokens_of_a_stream_come_as_they_are_generated(
    server: RunningServer, second: RunningServer, tmp_path: Path
) -> None:
    async with before(tmp_path, server, second) as (client, _):
        arrivals, whole = await arrivals_of(client, IMAGES[0].image, IMAGES[0].query)
        assert whole.count(b"event: thinking") > 1
        assert b"event: done" in whole
        assert len(arrivals) > 3
        assert arrivals[-1] - arrivals[0] > 0.01


@asynccontextmanager
async def filled(server: RunningServer) -> AsyncIterator[None]:
    """All of its slots and places in the queue held by requests whose body never comes."""
    address = httpx.URL(server.url)
    head = "POST /segment HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
    async with client_of(server) as client:
        opened = [
            await asyncio.open_connection(address.host, address.port)
            for _ in range(SLOTS + QUEUE_PLACES)
        ]
        try:
            for _, writer in opened:
                writer.write(f"{head}Content-Length: 100\r\n\r\n".encode())
            await until_metric(client, "wise_inflight_requests", SLOTS)
            await until_metric(client, "wise_queued_requests", QUEUE_PLACES)
            yield
        finally:
            for _, writer in opened:
                writer.close()
        await until_metric(client, "wise_inflight_requests", 0)


async def test_a_server_that_is_full_answers_through_nginx_with_429(
    server: RunningServer, tmp_path: Path
) -> None:
    async with before(tmp_path, server) as (client, _), filled(server):
        refused = await ask_case(client, 0)
    assert refused.status_code == 429
    assert refused.json()["code"] == "overloaded"
    assert int(refused.headers["retry-after"]) >= 1


async def test_a_server_stopped_under_load_loses_nothing(
    server: RunningServer, second: RunningServer, tmp_path: Path
) -> None:
    async with before(tmp_path, server, second) as (client, _):
        tasks = [asyncio.create_task(ask_case(client, n)) for n in range(48)]
        await asyncio.sleep(0.3)
        second.process.send_signal(signal.SIGTERM)
        tasks += [asyncio.create_task(ask_case(client, n)) for n in range(48)]
        answers = await asyncio.gather(*tasks)
        assert [answer.status_code for answer in answers] == [200] * len(answers)
        assert await asyncio.to_thread(second.process.wait, 60) == 0
        later = await asyncio.gather(*(ask_case(client, n) for n in range(len(IMAGES))))
        assert {answer.status_code for answer in later} == {200}
