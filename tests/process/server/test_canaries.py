"""Nothing of a request is written to the log or printed, however it fails."""

import asyncio
import base64
import hashlib
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from pictures import chunk, picture
from scripts import SERVE_FAILING, address, running

KEY, IMAGE, QUERY, FIELD, URL, NAME, HEADER = (
    f"canary-{word}" for word in ("key", "image", "query", "field", "url", "name", "header")
)
CANARIES = ("canary", base64.b64encode(IMAGE.encode())[:12].decode())
Ask = Callable[..., Awaitable[httpx.Response]]


def image() -> bytes:
    """A picture with a canary in its metadata."""
    data = picture()
    return data[:33] + chunk(b"tEXt", b"Comment\0" + IMAGE.encode()) + data[33:]


async def refusals(client: httpx.AsyncClient, ask: Ask) -> None:
    """Bad input of every kind."""
    for query, status in ((f"{QUERY} \0", 422), (f"{QUERY} <|im_end|>", 422), (QUERY * 999, 413)):
        assert (await ask(query)).status_code == status
    assert (await ask(QUERY, **{FIELD: FIELD})).status_code == 422
    assert (await ask(QUERY, mask_format=FIELD)).status_code == 422
    for data in (IMAGE.encode(), image()[:100], b"\x89PNG\r\n\x1a\n" + IMAGE.encode()):
        assert (await ask(QUERY, data=data)).status_code == 415
    post = client.post
    url = f"/segment?q={URL}"
    bodies: list[tuple[bytes, str, int]] = [
        (b'{"query": "' + QUERY.encode() + b'"', "application/json", 400),
        (json.dumps({"image": IMAGE, "query": QUERY}).encode(), "application/json", 422),
        (json.dumps({"image": "aa", FIELD: QUERY}).encode(), "application/json", 422),
        (json.dumps({"image": [IMAGE], "query": {FIELD: 1}}).encode(), "application/json", 422),
        (IMAGE.encode(), f"multipart/form-data; boundary={HEADER}", 400),
        (IMAGE.encode(), HEADER, 415),
        (IMAGE.encode() * 200_000, "application/json", 413),
    ]
    for body, kind, status in bodies:
        answer = await post(url, content=body, headers={"Content-Type": kind})
        assert answer.status_code == status, (kind, status, answer.text[:200])
    gzip = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    assert (await post(url, content=IMAGE.encode(), headers=gzip)).status_code == 415
    assert (await client.request(HEADER, url)).status_code == 400
    assert (await client.get(f"/nowhere?{URL}")).status_code == 404
    wrong = {"Authorization": f"Bearer {KEY}-wrong"}
    assert (await post(url, content=b"{}", headers=wrong)).status_code == 401
    basic = {"Authorization": f"Basic {KEY}"}
    assert (await post(url, content=b"{}", headers=basic)).status_code == 401


async def failures(client: httpx.AsyncClient, ask: Ask) -> None:
    """Requests that were let in, and failed inside."""
    for order, status in (
        ("lose-reasoner", 503), ("lose-segmenter", 503), ("defect", 500),
        ("defects-in-a-group", 500), ("slow", 504), ("unparsed", 200), ("lost-task", 200),
    ):  # fmt: skip
        assert (await ask(f"{QUERY} :{order}:")).status_code == status, order
    for order in ("defect", "slow", "lose-segmenter"):  # the status line has gone out by then
        answer = await ask(f"{QUERY} :{order}:", stream="true")
        assert "event: error" in answer.text


async def too_many(client: httpx.AsyncClient, ask: Ask) -> None:
    answers = await asyncio.gather(*(ask(f"{QUERY} :slow:") for _ in range(6)))
    assert {answer.status_code for answer in answers} == {429, 504}


async def leave(base: str, sent: bytes) -> None:
    """Send a part of a request, or something else, and go."""
    place = urlsplit(base)
    assert place.hostname is not None
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    writer.write(sent)
    await writer.drain()
    with suppress(TimeoutError):
        await asyncio.wait_for(reader.read(), 0.3)
    writer.close()


async def leavers(base: str) -> None:
    head = f"POST /segment?{URL} HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {KEY}\r\n"
    body = json.dumps({"image": base64.b64encode(image()).decode(), "query": f"{QUERY} :slow:"})
    whole = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    await leave(base, whole.encode())
    await leave(base, whole[:-20].encode())
    await leave(base, f"{QUERY} {IMAGE}\r\n\r\n".encode())  # no HTTP at all
    await leave(base, f"GET /{URL} HTTP/1.1\r\n{HEADER} : {HEADER}\r\n\r\n".encode())
    upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\n"
    await leave(base, f"GET /?{URL} HTTP/1.1\r\nHost: t\r\n{upgrade}\r\n{QUERY}".encode())


@asynccontextmanager
async def caller(base: str) -> AsyncIterator[tuple[httpx.AsyncClient, Ask]]:
    headers = {"Authorization": f"Bearer {KEY}", "X-Request-Id": f"a {HEADER}", "Cookie": HEADER}
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=30) as client:

        async def ask(query: str, *, data: bytes | None = None, **fields: str) -> httpx.Response:
            files = {"image": (NAME, data if data is not None else image())}
            return await client.post(
                f"/segment?q={URL}", files=files, data={"query": query, **fields}
            )

        yield client, ask


@pytest.mark.parametrize("level", ["info", "debug"])
async def test_no_canary_is_logged_printed_or_answered(tmp_path: Path, level: str) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{hashlib.sha256(KEY.encode()).hexdigest()}  visible-name\n")
    async with running(
        SERVE_FAILING,
        WISE_API_KEY_FILE=str(keys),
        WISE_LOG_LEVEL=level,
        WISE_REQUEST_DEADLINE_S="1.5",
        WISE_MAX_BODY_BYTES="2000000",
        WISE_MAX_INFLIGHT_REQUESTS="2",
        WISE_MAX_QUEUED_REQUESTS="1",
        WISE_DRAIN_DEADLINE_S="0.2",
    ) as child:
        base = await address(child)
        async with caller(base) as (client, ask):
            assert (await ask(QUERY)).json()["status"] == "found"
            await refusals(client, ask)
            await failures(client, ask)
            await too_many(client, ask)
            await leavers(base)
            keys.write_text(KEY)
            child.send_signal(signal.SIGHUP)
            last = asyncio.ensure_future(ask(f"{QUERY} :slow:"))
            await asyncio.sleep(0.3)
            child.send_signal(signal.SIGTERM)  # cuts the last one off
            await asyncio.gather(last, return_exceptions=True)
        out, log = await asyncio.wait_for(child.communicate(), 20)
    said = (out + log).decode()
    for words in ("visible-name", "request failed", "failed outside any request", "draining",
                  "the API keys stay as they are", "Invalid HTTP request"):  # fmt: skip
        assert words in said, words  # it was there, and it was logged
    leaks = [line for line in said.splitlines() for one in CANARIES if one in line.lower()]
    assert leaks == []
    assert all(line.startswith("{") and json.loads(line) for line in log.decode().splitlines())
