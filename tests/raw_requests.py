"""Requests as the bytes that a socket carries, to be sent in pieces or left alone."""

import json
from base64 import b64encode

import httpx

from pictures import picture


def request_bytes(*, stream: bool = False, declared: int | None = None) -> bytes:
    """As JSON; `declared`: a Content-Length that is not the body's."""
    image = b64encode(picture()).decode()
    body = json.dumps({"image": image, "query": "x", "stream": stream}).encode()
    head = "POST /segment HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {declared or len(body)}\r\n\r\n".encode() + body


def form_bytes() -> bytes:
    """The same as a form, which is read without the help of the image threads."""
    request = httpx.Request(
        "POST", "http://t/segment", files={"image": ("a.png", picture())}, data={"query": "x"}
    )
    lines = [f"{name}: {value}" for name, value in request.headers.items()]
    return (
        "\r\n".join(["POST /segment HTTP/1.1", "Connection: close", *lines, "", ""]).encode()
        + request.read()
    )
