"""The worst input against the server as a process: its memory, and the next request."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from corpus import FORM, form, gzip_bomb, in_json, parts, swelling_texts
from pictures import bomb, picture
from scripts import address, ask, process

MIB = 2**20
LIMIT = 20 * MIB  # max_body_bytes, as it is by default
JSON = "application/json"
EMPTY_LISTS = b"[]," * (LIMIT // 3 - 100) + b"[]"


@dataclass
class Attack:
    """A running server, its process and where it listens."""

    pid: int
    base: str
    client: httpx.AsyncClient

    async def post(self, body: bytes, content_type: str, **headers: str) -> tuple[int, str]:
        """Status of the answer, and its code where it is a problem."""
        headers = {"content-type": content_type, **headers}
        answer = await self.client.post("/segment", content=body, headers=headers)
        return answer.status_code, answer.json().get("code", "")


@asynccontextmanager
async def attacked(**settings: Any) -> AsyncIterator[Attack]:
    async with process(WISE_MAX_BODY_BYTES=str(LIMIT), **settings) as child:
        base = await address(child)
        async with httpx.AsyncClient(base_url=base, timeout=60) as client:
            for _ in range(3):
                await still_right(client)
            # The high-water mark starts from what is used now, not from the start's own peak.
            Path(f"/proc/{child.pid}/clear_refs").write_text("5")
            yield Attack(child.pid, base, client)
            await still_right(client)
        assert child.returncode is None


async def still_right(client: httpx.AsyncClient) -> None:
    answer = (await ask(client)).json()
    assert answer["status"] == "found"
    assert answer["instances"][0]["box"] == [6, 5, 32, 24]


def status_bytes(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


async def one_gigabyte_in_chunks(attack: Attack) -> tuple[int, str]:
    """Sends until the server does not take it, and reads the answer then."""
    host, _, port = attack.base.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /segment HTTP/1.1\r\nHost: t\r\nContent-Type: {FORM}\r\n"
    start = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n{len(start):x}\r\n".encode())
    writer.write(start + b"\r\n")
    sent, answer = 0, asyncio.create_task(reader.readuntil(b"}"))
    try:
        while sent < 1024 * MIB and not answer.done():
            writer.write(b"%x\r\n%s\r\n" % (MIB, bytes(MIB)))
            await writer.drain()
            sent += MIB
        told = (await asyncio.wait_for(answer, 10)).decode()
    finally:
        writer.close()
    assert sent < 3 * LIMIT
    status, _, rest = told.partition("\r\n")
    return int(status.split()[1]), str(json.loads(rest.partition("\r\n\r\n")[2])["code"])


def body(
    make: Callable[[], bytes], kind: str, **headers: str
) -> Callable[[Attack], Awaitable[tuple[int, str]]]:
    async def send(attack: Attack) -> tuple[int, str]:
        return await attack.post(make(), kind, **headers)

    return send


def many_texts() -> bytes:
    return swelling_texts(60)


def base64_in_lines() -> bytes:
    return in_json(base64.encodebytes(bytes(LIMIT * 18 // 25)).decode())


def base64_of_escapes() -> bytes:
    return in_json("").replace(b'""', b'"%b"' % (rb"\/" * (LIMIT // 2 - 100)), 1)


ATTACKS = {
    "100 megapixels": (body(lambda: form(bomb()), FORM), 413, "too_large"),
    "100 megapixels in base64": (body(lambda: in_json(bomb()), JSON), 413, "too_large"),
    # They are not unpacked, and the picture is answered.
    "a PNG's texts": (body(lambda: form(many_texts()), FORM), 200, ""),
    "1 GB in chunks": (one_gigabyte_in_chunks, 413, "too_large"),
    "10,000 parts": (
        body(lambda: form(picture(), extra=parts(10_000)), FORM), 400, "malformed_request",
    ),
    "a gzip bomb": (
        body(gzip_bomb, JSON, **{"content-encoding": "gzip"}), 415, "unsupported_media_type",
    ),
    "a gzip bomb as an image": (body(lambda: form(gzip_bomb()), FORM), 415, "unsupported_image"),
    "JSON 10,000 deep": (
        body(lambda: b'{"image": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", JSON),
        400, "malformed_request",
    ),
    "brackets to the limit": (body(lambda: b"[" * (LIMIT - 1), JSON), 400, "malformed_request"),
    "empty lists to the limit": (
        body(lambda: b"[" + EMPTY_LISTS + b"]", JSON), 400, "malformed_request",
    ),
    "lists as queries": (
        body(lambda: in_json("", queries=0).replace(b": 0}", b": [" + EMPTY_LISTS + b"]}"), JSON),
        413, "too_large",
    ),
    "lists in an unknown field": (
        body(lambda: b'{"x": [' + EMPTY_LISTS + b"]}", JSON), 422, "invalid_field",
    ),
    "a million fields": (
        body(lambda: b"{" + b'"query":1,' * (LIMIT // 10 - 10) + b'"query":1}', JSON),
        400, "malformed_request",
    ),
    "a part's header to the limit": (
        body(lambda: form(picture(), head=b"X: " + b"x" * (LIMIT - 1000) + b"\r\n"), FORM),
        400, "malformed_request",
    ),
    "a query of 1 MB": (body(lambda: form(picture(), b"x" * 10**6), FORM), 413, "too_large"),
    "a query to the limit": (
        body(lambda: form(b"x", b"x" * (LIMIT - 1000)), FORM), 413, "too_large",
    ),
    "an image of nothing to the limit": (
        body(lambda: form(bytes(LIMIT - 1000)), FORM), 415, "unsupported_image",
    ),
    "base64 to the limit": (
        body(lambda: in_json(base64.b64encode(bytes((LIMIT - 1000) * 3 // 4)).decode()), JSON),
        415, "unsupported_image",
    ),
    "base64 in lines to the limit": (body(base64_in_lines, JSON), 415, "unsupported_image"),
    "base64 of escapes to the limit": (body(base64_of_escapes, JSON), 415, "unsupported_image"),
    "base64 of whitespace to the limit": (
        body(lambda: in_json(" " * (LIMIT - 1000)), JSON), 422, "invalid_field",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
async def test_memory_stays_below_twice_the_body_limit(name: str) -> None:
    send, *expected = ATTACKS[name]
    async with attacked() as attack:
        before = status_bytes(attack.pid, "VmHWM")
        answer = await send(attack)
        grown = status_bytes(attack.pid, "VmHWM") - before
        print(f"{name}: VmHWM grew by {grown / MIB:.1f} MiB")
        assert list(answer) == expected
        assert grown < 2 * LIMIT


@pytest.mark.parametrize("error_bytes", [-30, 30])
async def test_a_false_content_length_costs_no_memory(error_bytes: int) -> None:
    """Too short: the form has no end, and the rest is not a request. Too long: the server waits."""
    async with attacked(WISE_BODY_DEADLINE_S="1") as attack:
        data = form(picture())
        host, _, port = attack.base.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /segment HTTP/1.1\r\nHost: t\r\nContent-Type: {FORM}\r\n"
        writer.write(f"{head}Content-Length: {len(data) + error_bytes}\r\n\r\n".encode() + data)
        async with asyncio.timeout(20):
            answers = (await reader.read()).decode()
        writer.close()
        status, code = (
            ("400", "malformed_request") if error_bytes < 0 else ("408", "request_timeout")
        )
        assert answers.startswith(f"HTTP/1.1 {status} ")
        assert f'"code":"{code}"' in answers
        assert " 200 " not in answers


async def test_data_that_is_not_http_gets_a_problem_document() -> None:
    heads = (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"\0" * 1000)
    async with attacked() as attack:
        host, _, port = attack.base.removeprefix("http://").partition(":")
        before = status_bytes(attack.pid, "VmHWM")
        for head in heads:
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(head)
            async with asyncio.timeout(20):
                answer = (await reader.read()).decode()
            writer.close()
            assert answer.startswith("HTTP/1.1 400 Bad Request\r\n")
            assert "content-type: application/problem+json\r\n" in answer
        assert status_bytes(attack.pid, "VmHWM") - before < 2 * LIMIT


@pytest.mark.parametrize("start", [b"POST /segment?q=", b"GET / HTTP/1.1\r\nHost: t\r\nX: "])
async def test_a_head_that_never_ends_is_given_up(start: bytes) -> None:
    async with attacked() as attack:
        host, _, port = attack.base.removeprefix("http://").partition(":")
        before = status_bytes(attack.pid, "VmHWM")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(start)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 200 * MIB and not reader.at_eof():
                writer.write(b"x" * MIB)
                await writer.drain()
                sent += MIB
        writer.close()
        assert sent < 50 * MIB
        assert status_bytes(attack.pid, "VmHWM") - before < 2 * LIMIT
