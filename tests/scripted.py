"""The real application on the models of `bright`, with a script of what else may happen.

A network, a proxy or another server may answer in ways that the application does not: a test says
so by `server.script`, one step for each of the next POST requests. Without a step the application
itself answers. What came is kept in `server.received`.
"""

import asyncio
import base64
import email
import email.policy
import json
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import MIMEPart
from typing import Any

import httpx
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bright import BrightReasoner, BrightSegmenter
from gateway_thread import GatewayThread
from steps import Exchange, Step


@dataclass
class Received:
    """One request as it came: names of headers in lower case, the image as its bytes."""

    path: str
    headers: dict[str, str]
    fields: dict[str, Any]
    image: bytes
    image_type: str
    peer: tuple[str, int]


@dataclass
class ScriptedServer:
    """What one test asks of the running application, and sees of it.

    delay_s: before each answer. busy, most_busy: requests in work now, and at most.
    """

    url: str
    script: deque[Step | None] = field(default_factory=deque)
    received: list[Received] = field(default_factory=list)
    delay_s: float = 0.0
    busy: int = 0
    most_busy: int = 0

    @property
    def queries(self) -> list[Any]:
        return [one.fields.get("query") or one.fields.get("queries") for one in self.received]

    def answer(self, image: bytes, query: str = "q") -> dict[str, Any]:
        """The application's own document about `image`, of which `received` says nothing."""
        document: dict[str, Any] = json.loads(self._ask(image, {"query": query}))
        return document

    def events(self, image: bytes, query: str = "q") -> bytes:
        """The same as a stream."""
        return self._ask(image, {"query": query, "stream": "true"})

    def _ask(self, image: bytes, fields: dict[str, str]) -> bytes:
        response = httpx.post(f"{self.url}/segment", files={"image": image}, data=fields)
        self.received.pop()
        return response.raise_for_status().content


class Script:
    """Stands before the application; `server` is of the test that runs now."""

    def __init__(self) -> None:
        self.server = ScriptedServer("")
        self.gateway: GatewayThread | None = None
        self._app: ASGIApp

    def around(self, app: ASGIApp) -> ASGIApp:
        self._app = app
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        server, body = self.server, await _read(receive)
        server.received.append(_received(scope, body))
        step = server.script.popleft() if server.script else None
        work = _Work(server)
        try:
            await asyncio.sleep(server.delay_s)
            reply = work.ends_with(send)
            exchange = Exchange(self._app, scope, _again(body, receive), reply, self._hang_up)
            await (exchange.answer() if step is None else step.play(exchange))
        finally:
            work.end()

    def _hang_up(self, client: tuple[str, int]) -> None:
        assert self.gateway is not None
        self.gateway.hang_up(client)


class _Work:
    """Counts one request until its answer has been sent: its client may send the next one then."""

    def __init__(self, server: ScriptedServer) -> None:
        self._server = server
        self._running = True
        server.busy += 1
        server.most_busy = max(server.most_busy, server.busy)

    def end(self) -> None:
        self._server.busy -= self._running
        self._running = False

    def ends_with(self, send: Send) -> Send:
        async def call(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self.end()
            await send(message)

        return call


@contextmanager
def serving() -> Iterator[Script]:
    """The application on a free port; begin a test by `script.server = ScriptedServer(url)`."""
    script = Script()
    models = BrightReasoner(), BrightSegmenter()
    with GatewayThread(*models, ready=True, key=None, around=script.around) as gateway:
        script.gateway, script.server = gateway, ScriptedServer(gateway.url)
        yield script


async def _read(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """`receive` of a request whose body was read already."""
    waiting = [body]

    async def call() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return call


def _received(scope: Scope, body: bytes) -> Received:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    kind = headers.get("content-type", "")
    if kind == "application/json":
        fields = json.loads(body)
        image, image_type = base64.b64decode(fields.pop("image", "")), "base64"
    else:
        head = f"Content-Type: {kind}\r\n\r\n".encode()
        form = email.message_from_bytes(head + body, policy=email.policy.HTTP)
        parts = {
            one.get_param("name", header="content-disposition"): one for one in form.iter_parts()
        }
        picture = parts.pop("image")
        image, image_type = _payload(picture), picture.get_content_type()
        fields = {name: _payload(one).decode() for name, one in parts.items()}
    return Received(scope["path"], headers, fields, image, image_type, tuple(scope["client"]))


def _payload(part: MIMEPart) -> bytes:
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content


def main() -> None:
    """`python scripted.py DELAY_S`: prints the address, serves until standard input is closed."""
    with serving() as script:
        script.server.delay_s = float(sys.argv[1])
        print(script.server.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
