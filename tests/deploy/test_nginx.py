"""deploy/nginx by Debian's real nginx, before three servers on fakes, under load and kills."""

import asyncio
import hashlib
import signal
import socket
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from pictures import picture
from scripts import address, process

FOLDER = Path(__file__).parents[2] / "deploy" / "nginx"
IMAGES = [picture(64 + number, 48) for number in range(24)]
TOKEN_S = 0.004


@dataclass
class Balanced:
    """nginx, and the servers behind it."""

    client: httpx.AsyncClient
    servers: list[Process]
    addresses: list[str]

    async def ask(self, number: int, **data: str) -> httpx.Response:
        image = IMAGES[number % len(IMAGES)]
        headers = {"X-Image-Digest": hashlib.sha256(image).hexdigest()}
        fields = {"query": "x", **data}
        files = {"image": ("a", image)}
        return await self.client.post("/segment", files=files, data=fields, headers=headers)

    async def lookups(self) -> list[dict[str, float]]:
        """Of each server, its embedding cache's lookups by result."""
        found = []
        async with httpx.AsyncClient() as direct:
            for base in self.addresses:
                text = (await direct.get(f"{base}/metrics")).text
                families = {family.name: family for family in text_string_to_metric_families(text)}
                samples = families["wise_embedding_cache"].samples
                found.append({one.labels["result"]: one.value for one in samples})
        return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def configure(folder: Path, addresses: list[str]) -> int:
    """Writes the configuration that is published, for these servers; gives its port."""
    port = free_port()
    text = (FOLDER / "nginx.conf").read_text()
    assert text.count("listen 8080 ") == 1
    text = text.replace("listen 8080 ", f"listen 127.0.0.1:{port} ").replace(
        "worker_processes auto;",
        f"worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/errors info;",
    )
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    (folder / "nginx.conf").write_text(text.replace("http {", f"http {{\n{paths}", 1))
    servers = (FOLDER / "wise-servers.conf").read_text()
    for number, base in enumerate(addresses):
        servers = servers.replace(f"wise-{number}:8000", base.removeprefix("http://"))
    assert "wise-" not in servers
    (folder / "wise-servers.conf").write_text(servers)
    return port


@asynccontextmanager
async def balanced(folder: Path, **env: str) -> AsyncIterator[Balanced]:
    async with AsyncExitStack() as stack:
        starts = [process(delay_s=TOKEN_S, **env) for _ in range(3)]
        servers = [await stack.enter_async_context(start) for start in starts]
        addresses = [await address(server) for server in servers]
        port = configure(folder, addresses)
        nginx = await asyncio.create_subprocess_exec(
            *("nginx", "-e", f"{folder}/errors", "-c", f"{folder}/nginx.conf"), stderr=PIPE
        )
        try:
            limits = httpx.Limits(max_connections=200)
            base = f"http://127.0.0.1:{port}"
            client = httpx.AsyncClient(base_url=base, timeout=60, limits=limits)
            await stack.enter_async_context(client)
            async with asyncio.timeout(10):
                while nginx.returncode is None:
                    try:
                        await client.get("/balancer/livez")
                        break
                    except httpx.ConnectError:
                        await asyncio.sleep(0.05)
            assert nginx.returncode is None, (folder / "errors").read_text()
            yield Balanced(client, servers, addresses)
        finally:
            if nginx.returncode is None:
                nginx.terminate()
            await nginx.communicate()


async def test_each_image_is_encoded_once_as_by_one_server(tmp_path: Path) -> None:
    async with balanced(tmp_path) as nginx:
        for _ in range(4):
            answers = await asyncio.gather(*(nginx.ask(number) for number in range(len(IMAGES))))
            assert [answer.status_code for answer in answers] == [200] * len(IMAGES)
        lookups = await nginx.lookups()
        assert sum(one["miss"] for one in lookups) == len(IMAGES)
        assert sum(one["hit"] for one in lookups) == 3 * len(IMAGES)
        assert all(one["miss"] for one in lookups)  # each has a share


async def test_a_drained_and_a_killed_server_lose_nothing_under_load(tmp_path: Path) -> None:
    # Room for what the last server gets alone: else callers are asked to come again, by 429.
    async with balanced(tmp_path, WISE_MAX_QUEUED_REQUESTS="256") as nginx:
        tasks = [asyncio.create_task(nginx.ask(number)) for number in range(60)]
        await asyncio.sleep(0.2)
        nginx.servers[0].send_signal(signal.SIGTERM)
        tasks += [asyncio.create_task(nginx.ask(number)) for number in range(60)]
        await asyncio.sleep(0.3)
        nginx.servers[1].kill()
        tasks += [asyncio.create_task(nginx.ask(number)) for number in range(60)]
        answers = await asyncio.gather(*tasks)
        assert [answer.status_code for answer in answers] == [200] * len(answers)
        for number, answer in enumerate(answers):  # none mixed up: each image has its own width
            assert answer.json()["image"]["width"] == 64 + number % 60 % len(IMAGES)


async def test_429_and_retry_after_pass(tmp_path: Path) -> None:
    limits = {"WISE_MAX_INFLIGHT_REQUESTS": "1", "WISE_MAX_QUEUED_REQUESTS": "0"}
    async with balanced(tmp_path, **limits) as nginx:
        answers = await asyncio.gather(*(nginx.ask(0) for _ in range(12)))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert {answer.status_code for answer in answers} == {200, 429}
        for answer in refused:
            assert answer.json()["code"] == "overloaded"
            assert int(answer.headers["retry-after"]) >= 1


async def test_events_of_a_stream_come_one_by_one(tmp_path: Path) -> None:
    async with balanced(tmp_path) as nginx:
        loop = asyncio.get_running_loop()
        data = {"query": "x", "stream": "true"}
        files = {"image": ("a", IMAGES[0])}
        arrivals = []
        async with nginx.client.stream("POST", "/segment", files=files, data=data) as answer:
            async for chunk in answer.aiter_raw():
                arrivals.append(loop.time())
                last = chunk
        assert b"event: done" in last
        assert len(arrivals) > 3
        assert arrivals[-1] - arrivals[0] > 5 * TOKEN_S


async def test_without_any_server_the_answer_is_a_problem_with_retry_after(tmp_path: Path) -> None:
    async with balanced(tmp_path) as nginx:
        for server in nginx.servers:
            server.kill()
            await server.wait()
        answer = await nginx.ask(0)
        assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["retry-after"] == "5"
        large = await nginx.client.post("/segment", content=b"x" * (21 * 2**20))
        assert (large.status_code, large.json()["code"]) == (413, "too_large")
