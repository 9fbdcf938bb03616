"""A small HTTP server that speaks the contract, for the client's tests.

It finds the bright pixels of the image it is sent, so that its answers are true of the image.
`script` holds what the next requests meet instead, one entry a request.
"""

import base64
import email
import email.policy
import io
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from pycocotools import mask as coco


@dataclass
class Received:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    fields: dict[str, Any]
    image: bytes
    image_type: str
    peer: tuple[str, int]


@dataclass
class Problem:
    """Answer with a problem document; `told` overrides or adds members."""

    status: int
    code: str
    retry_after: str | None = None
    told: dict[str, Any] = field(default_factory=dict)


@dataclass
class Raw:
    """Answer with these bytes."""

    status: int
    body: bytes
    content_type: str = "text/html"


class Disconnect:
    """Read the request, close the connection, answer nothing."""


class CutBody:
    """Answer half of a body, then close."""


@dataclass
class Slow:
    """Answer well, after a while."""

    seconds: float


@dataclass
class Change:
    """Answer well, but change the document first."""

    change: Callable[[dict[str, Any]], Any]


@dataclass
class Stream:
    """Answer with these event-stream bytes, in chunks of `chunk` bytes; then close or cut."""

    body: bytes
    chunk: int = 7
    cut: bool = False


def answer(image: bytes, mask_format: str, query: str) -> dict[str, Any]:
    """The contract's document for the bright pixels of `image`; "nothing" names nothing."""
    with Image.open(io.BytesIO(image)) as opened:
        grey = np.asarray(ImageOps.exif_transpose(opened).convert("RGB").convert("L"))
    mask = grey > 127
    height, width = mask.shape
    found = bool(mask.any()) and query != "nothing"
    document: dict[str, Any] = {
        "id": "seg-1",
        "status": "found" if found else "no_target",
        "image": {"width": width, "height": height},
        "instances": [_instance(mask, mask_format)] if found else [],
        "reasoning": f"bright, so {query}",
        "usage": {
            "prompt_tokens": 1043,
            "cached_tokens": 900,
            "thinking_tokens": 6,
            "answer_tokens": 41,
            "completion_tokens": 58,
        },
        "timing_ms": {"decode": 3.1, "reason": 210.0, "encode": 95.0, "segment": 8, "total": 221.9},
        "model": {"reasoner": "mini", "segmenter": "mini", "strategy": "wise-s"},
    }
    return document


def _instance(mask: np.ndarray, mask_format: str) -> dict[str, Any]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x1, y1, x2, y2 = (int(v) for v in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    size = [int(side) for side in mask.shape]
    if mask_format == "png":
        out = io.BytesIO()
        Image.fromarray(mask).save(out, "PNG")
        told: dict[str, Any] = {"size": size, "png": base64.b64encode(out.getvalue()).decode()}
    elif mask_format == "polygon":
        told = {"size": size, "polygons": [[[x1, y1], [x2, y1], [x2, y2], [x1, y2]]]}
    else:
        counts = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
        told = {"size": size, "counts": counts.decode()}
    return {
        "box": [x1, y1, x2, y2],
        "points": [[(x1 + x2) / 2, (y1 + y2) / 2], [x1, y1]],
        "score": 0.94,
        "area": int(mask.sum()),
        "mask": told,
    }


def sse(name: str, document: Any) -> bytes:
    """One event of a stream."""
    return f"event: {name}\ndata: {json.dumps(document)}\n\n".encode()


def events_of(document: dict[str, Any]) -> bytes:
    """The whole stream of one answer."""
    body = (
        b": welcome\n\n" + sse("thinking", {"text": "bright, "}) + sse("thinking", {"text": "so"})
    )
    for i, one in enumerate(document["instances"]):
        body += sse("instance", {"index": i, "box": one["box"], "points": one["points"]})
        mask = {"index": i, "mask": one["mask"], "score": one["score"], "area": one["area"]}
        body += sse("mask", mask)
    return body + sse("done", document)


class ContractServer:
    """Runs in a thread on a free port of 127.0.0.1 from `with` to its end."""

    def __init__(self) -> None:
        self.script: deque[Any] = deque()
        self.received: list[Received] = []
        self.delay_s = 0.0
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> "ContractServer":
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)

    @property
    def queries(self) -> list[Any]:
        return [one.fields.get("query") or one.fields.get("queries") for one in self.received]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    owner: ContractServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._json(
            200,
            {
                "models": {"reasoner": "mini"},
                "strategy": "wise-s",
                "strategies": ["wise-s", "my-own"],
            },
        )

    def do_POST(self) -> None:
        owner = self.server.owner
        request = self._read()
        with owner.lock:
            owner.received.append(request)
            step = owner.script.popleft() if owner.script else None
            owner.busy += 1
            owner.most_busy = max(owner.most_busy, owner.busy)
        try:
            time.sleep(owner.delay_s)
            self._perform(step, request)
        finally:
            with owner.lock:
                owner.busy -= 1

    def _perform(self, step: Any, request: Received) -> None:
        if isinstance(step, Disconnect):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif isinstance(step, CutBody):
            self._head(200, "application/json", 1000)
            self.wfile.write(b'{"id": ')
            self.close_connection = True
        elif isinstance(step, Problem):
            document = {"type": "about:blank", "title": "A title", "status": step.status}
            document |= {"detail": "A detail", "code": step.code, "request_id": "srv-7"} | step.told
            more = {"Retry-After": step.retry_after} if step.retry_after else {}
            self._json(step.status, document, "application/problem+json", more)
        elif isinstance(step, Raw):
            self._head(step.status, step.content_type, len(step.body))
            self.wfile.write(step.body)
        elif isinstance(step, Stream):
            self._stream(step)
        else:
            self._answer(step, request)

    def _answer(self, step: Any, request: Received) -> None:
        if isinstance(step, Slow):
            time.sleep(step.seconds)
        fields = request.fields
        kind = fields.get("mask_format", "rle")
        queries = fields.get("queries")
        if fields.get("stream") in ("true", True):
            document = answer(request.image, kind, str(fields.get("query") or queries[0]))
            self._stream(Stream(events_of(document)))
            return
        if queries is None:
            document = answer(request.image, kind, fields["query"])
        else:
            document = {"results": [answer(request.image, kind, query) for query in queries]}
        self._json(200, step.change(document) if isinstance(step, Change) else document)

    def _stream(self, step: Stream) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("X-Request-Id", "srv-8")
        self.end_headers()
        for start in range(0, len(step.body), step.chunk):
            piece = step.body[start : start + step.chunk]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if step.cut:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def _read(self) -> Received:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind = self.headers["Content-Type"]
        headers = {name.lower(): value for name, value in self.headers.items()}
        if kind == "application/json":
            fields = json.loads(body)
            image, image_type = base64.b64decode(fields.pop("image")), "base64"
        else:
            head = f"Content-Type: {kind}\r\n\r\n".encode()
            form = email.message_from_bytes(head + body, policy=email.policy.HTTP)
            parts = {
                p.get_param("name", header="content-disposition"): p for p in form.iter_parts()
            }
            picture = parts.pop("image")
            image, image_type = picture.get_payload(decode=True), picture.get_content_type()
            fields = {name: p.get_payload(decode=True).decode() for name, p in parts.items()}
        return Received(self.path, headers, fields, image, image_type, self.client_address)

    def _head(
        self, status: int, kind: str, length: int, more: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(length), "X-Request-Id": "srv-7"}
        for name, value in (headers | (more or {})).items():
            self.send_header(name, value)
        self.end_headers()

    def _json(
        self,
        status: int,
        document: Any,
        kind: str = "application/json",
        more: dict[str, str] | None = None,
    ) -> None:
        body = json.dumps(document).encode()
        self._head(status, kind, len(body), more)
        self.wfile.write(body)
