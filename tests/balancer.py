"""deploy/nginx as published, by Debian's real nginx, before servers that a test has started."""

import asyncio
import hashlib
import socket
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

FOLDER = Path(__file__).parents[1] / "deploy" / "nginx"
STARTS_WITHIN_S = 10.0


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _servers(addresses: Sequence[str], changed: Mapping[str, str]) -> str:
    """wise-servers.conf with these servers in place of its own, each with its published limits."""
    lines = (FOLDER / "wise-servers.conf").read_text().splitlines()
    published = [line for line in lines if line.startswith("server ")]
    text = ""
    for number, base in enumerate(addresses):
        assert f"wise-{number}:8000" in published[number]
        address = base.removeprefix("http://")
        text += published[number].replace(f"wise-{number}:8000", address) + "\n"
    for old, new in changed.items():
        text = text.replace(old, new)
    return text


def _configure(folder: Path, addresses: Sequence[str], changed: Mapping[str, str]) -> int:
    """Writes the published configuration for these servers; yields its port.

    changed: pieces of its text, and what stands there in this test."""
    port = free_port()
    own = {
        "listen 8080 ": f"listen 127.0.0.1:{port} ",
        "worker_processes auto;": f"worker_processes 1; daemon off; pid {folder}/pid; "
        f"error_log {folder}/errors info;",
    }
    text = (FOLDER / "nginx.conf").read_text()
    servers = _servers(addresses, changed)
    for old in (*own, *changed):
        assert text.count(old) == 1 or changed.get(old, old) in servers, old
    for old, new in (own | dict(changed)).items():
        text = text.replace(old, new)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    (folder / "nginx.conf").write_text(text.replace("http {", f"http {{\n{paths}", 1))
    (folder / "wise-servers.conf").write_text(servers)
    return port


@asynccontextmanager
async def running_nginx(
    folder: Path, addresses: Sequence[str], changed: Mapping[str, str] | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of nginx, which runs before the servers at `addresses`, three of them at most."""
    port = _configure(folder, addresses, changed or {})
    nginx = await asyncio.create_subprocess_exec(
        *("nginx", "-e", f"{folder}/errors", "-c", f"{folder}/nginx.conf"), stderr=PIPE
    )
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            timeout=60,
            limits=httpx.Limits(max_connections=200),
        ) as client:
            async with asyncio.timeout(STARTS_WITHIN_S):
                while nginx.returncode is None:
                    try:
                        await client.get("/balancer/livez")
                        break
                    except httpx.ConnectError:
                        await asyncio.sleep(0.05)
            assert nginx.returncode is None, (folder / "errors").read_text()
            yield client
    finally:
        if nginx.returncode is None:
            nginx.terminate()
        await nginx.communicate()


async def ask(client: httpx.AsyncClient, image: bytes, **fields: str) -> httpx.Response:
    """POST /segment as the SDK sends it: with the image's digest in a header."""
    headers = {"X-Image-Digest": hashlib.sha256(image).hexdigest()}
    files = {"image": ("a", image)}
    return await client.post("/segment", files=files, data=fields, headers=headers)


async def lookups(addresses: Sequence[str]) -> list[dict[str, float]]:
    """Of each server, its embedding cache's lookups by result."""
    found = []
    async with httpx.AsyncClient() as direct:
        for base in addresses:
            text = (await direct.get(f"{base}/metrics")).text
            families = {family.name: family for family in text_string_to_metric_families(text)}
            samples = families["wise_embedding_cache"].samples
            found.append({one.labels["result"]: one.value for one in samples})
    return found


async def arrivals_of(
    client: httpx.AsyncClient, image: bytes, query: str
) -> tuple[list[float], bytes]:
    """Of a stream: when each piece of it came, in seconds, and the whole."""
    loop = asyncio.get_running_loop()
    arrivals, pieces = [], []
    data = {"query": query, "stream": "true"}
    files = {"image": ("a", image)}
    async with client.stream("POST", "/segment", files=files, data=data) as answer:
        async for piece in answer.aiter_raw():
            arrivals.append(loop.time())
            pieces.append(piece)
    return arrivals, b"".join(pieces)
