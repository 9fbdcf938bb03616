"""Requests through nginx, and what the servers behind it have counted."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from balancer import running_nginx


@asynccontextmanager
async def client_of_nginx(
    folder: Path, addresses: Sequence[str], changed: Mapping[str, str] | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of nginx, which runs before the servers at `addresses` (`balancer`)."""
    with running_nginx(folder, addresses, changed) as url:
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
            yield client


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
