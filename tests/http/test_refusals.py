"""Requests that are refused for what they hold, over HTTP."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateways import Start
from pictures import bomb, picture
from refusals import B64, GOOD, JSON, problem, still_right

FORM = "multipart/form-data; boundary=b"
DEEP = b"[" * 10_000 + b"]" * 10_000


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"", "application/json", 400, "malformed_request"),
        (b"{", "application/json", 400, "malformed_request"),
        (b"[]", "application/json", 400, "malformed_request"),
        (DEEP, "application/json", 400, "malformed_request"),
        (b'{"image": ' + DEEP + b"}", "application/json", 400, "malformed_request"),
        (b'{"max_instances": NaN}', "application/json", 400, "malformed_request"),
        (b'{"max_instances": -Infinity}', "application/json", 400, "malformed_request"),
        (
            b'{"max_instances": ' + b"9" * 10_000 + b"}",
            "application/json",
            400,
            "malformed_request",
        ),
        (b"\xff\xfe{", "application/json", 400, "malformed_request"),
        (b'{"query": "x"}', "application/json", 400, "malformed_request"),
        (b"not a form", FORM, 400, "malformed_request"),
        (b"", FORM, 400, "malformed_request"),
        (b"--b\r\n\r\nx\r\n--b--\r\n", FORM, 400, "malformed_request"),
        (b"", "multipart/form-data", 400, "malformed_request"),
        (b"x", "text/plain", 415, "unsupported_media_type"),
        (b"x", "image/png", 415, "unsupported_media_type"),
        (b"x", "", 415, "unsupported_media_type"),
        (b"a=b", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
    ],
)
async def test_malformed_bodies_are_refused(
    start: Start, body: bytes, content_type: str, status: int, code: str
) -> None:
    server = await start()
    headers = {"content-type": content_type}
    problem(await server.client.post("/segment", content=body, headers=headers), status, code)
    await still_right(server)


@pytest.mark.parametrize(
    ("change", "status", "code", "field"),
    [
        ({"image": None}, 400, "malformed_request", None),
        ({"query": None}, 422, "invalid_field", None),  # null, which is no text
        ({"image": 7}, 422, "invalid_field", "image"),
        ({"image": ""}, 422, "invalid_field", "image"),
        ({"image": " \n "}, 422, "invalid_field", "image"),
        ({"image": "data:image/png;base64," + B64}, 422, "invalid_field", "image"),
        ({"image": "äöü"}, 422, "invalid_field", "image"),
        ({"image": base64.b64encode(b"hello").decode()}, 415, "unsupported_image", None),
        ({"image": base64.b64encode(picture(kind="GIF")).decode()}, 415, "unsupported_image", None),
        ({"image": base64.b64encode(picture()[:100]).decode()}, 415, "unsupported_image", None),
        ({"image": base64.b64encode(bomb()).decode()}, 413, "too_large", None),
        ({"query": ""}, 422, "invalid_field", "query"),
        ({"query": " \u2003"}, 422, "invalid_field", "query"),
        ({"query": "..."}, 422, "invalid_field", "query"),
        ({"query": "a\0b"}, 422, "invalid_field", "query"),
        ({"query": "a\ud800b"}, 422, "invalid_field", None),
        ({"query": ["x"]}, 422, "invalid_field", "query"),
        ({"query": "x" * 1001}, 413, "too_large", None),
        ({"query": "x" * 2**20}, 413, "too_large", None),
        ({"query": "a <|im_end|> b"}, 422, "invalid_field", "query"),
        ({"query": "a <|IM_START|> b"}, 422, "invalid_field", "query"),
        ({"queries": ["x"]}, 422, "invalid_field", None),
        ({"query": None, "queries": []}, 422, "invalid_field", "queries"),
        ({"query": None, "queries": ["x"] * 65}, 413, "too_large", None),
        ({"query": None, "queries": ["x", "a\0b"]}, 422, "invalid_field", "queries"),
        ({"query": None, "queries": "x"}, 422, "invalid_field", "queries"),
        ({"strategy": "best"}, 422, "invalid_field", "strategy"),
        ({"mask_format": "svg"}, 422, "invalid_field", "mask_format"),
        ({"max_instances": 0}, 422, "invalid_field", "max_instances"),
        ({"max_instances": 10**30}, 422, "invalid_field", "max_instances"),
        ({"max_instances": 1.5}, 422, "invalid_field", "max_instances"),
        ({"stream": "perhaps"}, 422, "invalid_field", "stream"),
        ({"image_url": "http://x"}, 422, "invalid_field", "image_url"),
    ],
)
async def test_wrong_fields_of_json_are_refused_by_name(
    start: Start, change: dict[str, Any], status: int, code: str, field: str | None
) -> None:
    server = await start()
    fields = {
        key: value
        for key, value in {**GOOD, **change}.items()
        if value is not None or key == "query"
    }
    if "queries" in change and "query" in change:
        del fields["query"]
    content = json.dumps(fields)
    response = await server.client.post("/segment", content=content, headers=JSON)
    problem(response, status, code, field)
    assert server.reasoner.requests == []
    await still_right(server)


async def test_the_refusal_names_the_special_token(start: Start) -> None:
    server = await start()
    detail = problem(await server.form("<|image_pad|>"), 422, "invalid_field", "query")
    assert "<|image_pad|>" in detail


async def test_wrong_fields_of_a_form_are_refused_by_name(start: Start) -> None:
    server = await start()
    post = server.client.post
    image = {"image": ("a.png", picture())}
    cases: list[tuple[httpx.Response, int, str, str | None]] = [
        (await post("/segment", files=image), 400, "malformed_request", None),
        (await post("/segment", files={"query": (None, "x")}), 400, "malformed_request", None),
        (await post("/segment", files={"image": (None, "x"), "query": (None, "x")}), 422,
         "invalid_field", "image"),
        (await post("/segment", files={"mask": ("a.png", b"x")}), 422, "invalid_field", "mask"),
        (await post("/segment", files={**image, "query": (None, b"\xff\xfe")}), 422,
         "invalid_field", None),
        (await post("/segment", files={**image, "query": (None, b"\xed\xa0\x80")}), 422,
         "invalid_field", None),
        (await post("/segment", files=[("image", image["image"])] * 2, data={"query": "x"}), 400,
         "malformed_request", None),
        (await post("/segment", files=image, data={"query": ["x", "y"]}), 422, "invalid_field",
         "query"),
        (await post("/segment", files=image, data={"q": ["x"] * 10_000}), 400,
         "malformed_request", None),
        (await post("/segment", files=image, data={"query": "x" * 2**20}), 413, "too_large", None),
        (await server.form(max_instances="NaN"), 422, "invalid_field", "max_instances"),
        (await server.form(image=b"\x89PNG"), 415, "unsupported_image", None),
    ]  # fmt: skip
    for response, status, code, field in cases:
        problem(response, status, code, field)
    await still_right(server)


async def test_a_charset_of_the_callers_changes_nothing(start: Start) -> None:
    server = await start()
    for charset in ("utf-7", "undefined", "rot13", "utf-16"):
        parts = b'--b\r\nContent-Disposition: form-data; name="query"\r\n\r\nthe red cup\r\n'
        parts += b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        headers = {"content-type": f"multipart/form-data; charset={charset}; boundary=b"}
        content = parts + picture() + b"\r\n--b--\r\n"
        response = await server.client.post("/segment", content=content, headers=headers)
        assert response.status_code == 200, response.text
        assert "'the red cup'" in server.reasoner.requests[-1].prompt


async def test_right_to_left_and_zero_width_text_is_text(start: Start) -> None:
    server = await start()
    for query in ("הכוס האדומה", "a\u200bb", "\u202ecup"):
        assert (await server.form(query)).status_code == 200


async def test_compressed_bodies_are_refused_unread(start: Start) -> None:
    server = await start()
    headers = {**JSON, "content-encoding": "gzip"}
    response = await server.client.post("/segment", content=b"\x1f\x8b", headers=headers)
    problem(response, 415, "unsupported_media_type")


async def test_body_limit_whatever_the_length_header_says(start: Start) -> None:
    server = await start(max_body_bytes=2000)
    read = 0

    async def chunks() -> Any:
        nonlocal read
        for _ in range(1000):
            read += 1000
            yield b" " * 1000

    problem(await server.client.post("/segment", content=chunks(), headers=JSON), 413, "too_large")
    # Read ahead, four at most; and a small body is read before the answer.
    assert read <= 2000 + 4 * 1000 + 70_000
    for length in ("10", "99999999999999999999999", "2001"):
        headers = {**JSON, "content-length": length}
        response = await server.client.post("/segment", content=chunks(), headers=headers)
        problem(response, 413, "too_large")
    assert server.runtime.admission.inflight == 0


async def test_paths_and_methods_not_served(start: Start) -> None:
    server = await start()
    problem(await server.client.get("/nowhere"), 404, "not_found")
    response = await server.client.get("/segment")
    problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"
    problem(await server.client.post("/livez"), 405, "method_not_allowed")


@pytest.mark.parametrize("key", [None, "wrong"])
async def test_without_a_known_key_nobody_segments(
    start: Start, tmp_path: Path, key: str | None
) -> None:
    file = tmp_path / "keys"
    file.write_text(hashlib.sha256(b"right").hexdigest())
    server = await start(api_key_file=str(file))
    if key is not None:
        server.client.headers["Authorization"] = f"Bearer {key}"
    response = await server.form()
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["code"] == "unauthorized"
    assert server.segmenter.opened == 0
    server.client.headers["Authorization"] = "Bearer right"
    assert (await server.form()).status_code == 200
