"""What people's HTTP libraries send: HEAD, HTTP/1.0, and the corners of multipart forms."""

import asyncio

import pytest

from corpus import FORM
from fakes import FakeReasoner
from gateways import Start, on_loopback
from pictures import picture
from raw_requests import form_bytes

DISPOSITION = b"Content-Disposition: form-data; "
PLAIN = DISPOSITION + b'name="image"; filename="a.png"'
LINE, END = b"--b\r\n", b"--b--\r\n"


def form(
    *, head: bytes = PLAIN, before: bytes = b"", line: bytes = LINE, end: bytes = END
) -> bytes:
    """A picture and a query; `line`: each boundary's, `end`: the last one and what follows it."""
    query = b'Content-Disposition: form-data; name="query"\r\n\r\nx\r\n'
    return before + line + head + b"\r\n\r\n" + picture() + b"\r\n" + line + query + end


ACCEPTED = {
    "text before the first boundary": form(before=b"This is a form\r\nin MIME.\r\n"),
    "a line end before it": form(before=b"\r\n"),
    "a long preamble": form(before=b"-- b --bb\n--bc " * 10_000 + b"\r\n"),
    "a preamble's line that begins like a boundary": form(before=b"--bb\r\n--b c\r\n"),
    "spaces after the boundaries": form(line=b"--b \t \r\n"),
    "spaces after the last one": form(end=b"--b--  \t\r\n"),
    "text after the last one": form(end=b"--b--\r\nthe end\r\n--b\r\nno part\r\n"),
    "no line end after the last one": form(end=b"--b--"),
    "filename* alone": form(head=DISPOSITION + b"name=image; filename*=UTF-8''%E6%9D%AF"),
    "filename* first": form(head=DISPOSITION + b"filename*=utf-8'en'a; name=image"),
    "filename* in sections": form(
        head=DISPOSITION + b"name=image; filename*0*=UTF-8''a; filename*1=.png"
    ),
    "filename* and filename": form(head=PLAIN + b"; filename*=UTF-8''a"),
    "an empty file name": form(head=DISPOSITION + b'name="image"; filename=""'),
    "names of headers in lower case": form(head=PLAIN.lower()),
}


@pytest.mark.parametrize("name", ACCEPTED)
@pytest.mark.parametrize("piece_bytes", [1, 7, 1 << 20])
async def test_a_form_is_read_however_it_arrives(start: Start, name: str, piece_bytes: int) -> None:
    server = await start()
    body = ACCEPTED[name]
    piece_bytes = max(piece_bytes, len(body) // 2000)

    async def pieces() -> object:
        for at in range(0, len(body), piece_bytes):
            yield body[at : at + piece_bytes]

    answer = await server.client.post("/segment", content=pieces(), headers={"content-type": FORM})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "body",
    [
        form(head=DISPOSITION + b"name=\"image; filename*=UTF-8''a\""),
        form(head=DISPOSITION + b'name="image"'),
        form(head=DISPOSITION + b"name=image; filename*=UTF-8''a.png; filename*0=b"),
        form(line=b"--b x\r\n"),
        b"a preamble\r\nand nothing else",
    ],
)
async def test_a_form_without_a_file_or_a_boundary_is_refused(start: Start, body: bytes) -> None:
    server = await start()
    answer = await server.client.post("/segment", content=body, headers={"content-type": FORM})
    assert answer.status_code in (400, 422), answer.text


async def exchange(port: int, data: bytes) -> tuple[bytes, bytes]:
    """Head and body of the answer, read until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.lower(), body


@pytest.mark.parametrize(
    "path",
    [
        "/livez",
        "/readyz",
        "/info",
        "/metrics",
        "/",
        "/docs",
        "/openapi.json",
        "/nowhere",
        "/segment",
    ],
)
async def test_head_is_get_without_its_body(start: Start, path: str) -> None:
    server = await start()
    get, head = await server.client.get(path), await server.client.head(path)
    assert head.status_code == get.status_code
    assert head.content == b""
    own = {"x-request-id", "content-length"}  # which differ: the id, and metrics that count
    assert head.headers.keys() == get.headers.keys()
    assert all(head.headers[name] == get.headers[name] for name in get.headers.keys() - own)
    async with on_loopback(server.app) as port:
        request = f"HEAD {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
        first, body = await exchange(port, request.encode())
    assert first.startswith(f"http/1.1 {get.status_code} ".encode())
    assert body == b""


async def test_a_405_names_get_and_head(start: Start) -> None:
    answer = await (await start()).client.post("/livez")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert answer.json()["detail"] == "This path accepts GET, HEAD."


@pytest.mark.parametrize("last_event", [b"done", b"error"])
async def test_a_stream_to_http_1_0_has_no_chunks(start: Start, last_event: bytes) -> None:
    server = await start(FakeReasoner(fail_after=12 if last_event == b"error" else None))
    data = stream_request().replace(b"HTTP/1.1", b"HTTP/1.0")
    async with on_loopback(server.app) as port:
        head, body = await exchange(port, data)
    assert head.startswith(b"http/1.1 200 ")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert body.startswith(b"event: thinking\n")
    assert body.count(b"\n\n") == body.count(b"event: ")
    last = body.strip().split(b"\n\n")[-1]
    assert last.startswith(b"event: " + last_event + b"\n")


async def test_a_stream_to_http_1_1_has_chunks(start: Start) -> None:
    server = await start()
    async with on_loopback(server.app) as port:
        head, body = await exchange(port, stream_request())
    assert b"transfer-encoding: chunked" in head
    assert body.endswith(b"\r\n0\r\n\r\n")


async def test_http_1_0_gets_a_whole_answer_and_no_100_continue(start: Start) -> None:
    server = await start()
    data = form_bytes().replace(b"HTTP/1.1", b"HTTP/1.0\r\nExpect: 100-continue", 1)
    async with on_loopback(server.app) as port:
        head, body = await exchange(port, data)
        _, ready = await exchange(port, b"GET /readyz HTTP/1.0\r\n\r\n")
    assert head.startswith(b"http/1.1 200 ")
    assert f"content-length: {len(body)}".encode() in head
    assert ready == b'{"status":"ready"}'


@pytest.mark.parametrize("piece_bytes", [1, 400, 1 << 20])
@pytest.mark.parametrize("framing", ["Content-Length", "chunks"])
@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
async def test_an_offer_of_another_protocol_is_ignored(
    start: Start, protocol: str, framing: str, piece_bytes: int
) -> None:
    server = await start()
    body = form()
    offer = f"Upgrade: {protocol}\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAM\r\n"
    if framing == "chunks":
        length = "Transfer-Encoding: chunked"
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
        length = f"Content-Length: {len(body)}"
    head = f"POST /segment HTTP/1.1\r\nHost: t\r\n{offer}Content-Type: {FORM}\r\n{length}\r\n\r\n"
    data = head.encode() + body + b"GET /livez HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
    async with on_loopback(server.app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for at in range(0, len(data), piece_bytes):
            writer.write(data[at : at + piece_bytes])
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            answers = await reader.read()
        writer.close()
    assert answers.count(b"HTTP/1.1 ") == answers.count(b"HTTP/1.1 200 ") == 2
    assert b'"status":"found"' in answers
    assert answers.endswith(b'{"status":"alive"}')


async def test_many_offers_at_once_are_ignored(start: Start) -> None:
    get = b"GET /nowhere HTTP/1.1\r\nHost: t\r\nUpgrade: h2c\r\nConnection: Upgrade"
    async with on_loopback((await start()).app) as port:
        _, answers = await exchange(port, (get + b"\r\n\r\n") * 20 + get + b", close\r\n\r\n")
    assert answers.count(b"HTTP/1.1 404 ") == 20


async def test_a_tunnel_is_refused(start: Start) -> None:
    async with on_loopback((await start()).app) as port:
        offer = b"Upgrade: h2c\r\nConnection: Upgrade, close\r\n\r\n"
        head, _ = await exchange(port, b"CONNECT t:1 HTTP/1.1\r\nHost: t\r\n" + offer)
    assert head.startswith(b"http/1.1 40")


def stream_request() -> bytes:
    stream = b'--b\r\nContent-Disposition: form-data; name="stream"\r\n\r\ntrue\r\n'
    body = form(end=stream + b"--b--\r\n")
    head = f"POST /segment HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Type: {FORM}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
