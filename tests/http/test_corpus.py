"""The corpus of bad and odd input: each gets its documented answer, the next request is right."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from corpus import FORM as FORM_TYPE
from corpus import (
    Case,
    bad_images,
    bodies,
    form,
    good_images,
    in_json,
    refine_bodies,
    refine_form,
    refine_in_json,
)
from fakes import FakeReasoner
from gateways import Server, Start
from pictures import picture
from wise_serve import miniature

WAYS: dict[str, dict[str, Any]] = {
    "/segment": {FORM_TYPE: form, "application/json": in_json},
    "/refine": {FORM_TYPE: refine_form, "application/json": refine_in_json},
}
TOKENIZER = Path(miniature.__file__).parent / "weights" / "reasoner" / "tokenizer.json"


def check(response: httpx.Response, case: Case) -> None:
    assert response.status_code == case.status, (case.name, response.text)
    document = response.json()
    if case.status == 200:
        # An image of one pixel is too small for the fake's box.
        one_pixel = case.size == (1, 1) and "reasoning" in document
        assert document["status"] == ("unparsed" if one_pixel else "found")
        shown = document["image"]
        assert (shown["width"], shown["height"]) == case.size
        return
    assert response.headers["content-type"] == "application/problem+json"
    assert (document["status"], document["code"]) == (case.status, case.code), case.name
    assert document["request_id"] == response.headers["x-request-id"]


async def still_right(server: Server) -> None:
    answer = (await server.form()).json()
    assert answer["status"] == "found"
    assert answer["instances"][0]["box"] == [6, 5, 32, 24]  # of the fake's own answer
    assert (server.runtime.admission.inflight, server.segmenter.open_now) == (0, 0)


async def post(
    server: Server, body: bytes, content_type: str, path: str = "/segment"
) -> httpx.Response:
    headers = {"content-type": content_type}
    return await server.client.post(path, content=body, headers=headers)


@pytest.mark.parametrize("content_type", [FORM_TYPE, "application/json"])
@pytest.mark.parametrize("make", [good_images, bad_images])
@pytest.mark.parametrize("path", WAYS)
async def test_every_image(start: Start, path: str, make: Any, content_type: str) -> None:
    server = await start()
    body = WAYS[path][content_type]
    for case in make():
        if not case.data and content_type != FORM_TYPE:
            continue  # base64 of nothing: among the bodies
        check(await post(server, body(case.data), content_type, path), case)
        await still_right(server)


@pytest.mark.parametrize(("path", "make"), [("/segment", bodies), ("/refine", refine_bodies)])
async def test_every_body(start: Start, path: str, make: Any) -> None:
    server = await start()
    for case in make():
        check(await post(server, case.data, case.content_type, path), case)
        await still_right(server)


@dataclass
class WithTheMiniaturesTokens(FakeReasoner):
    tokens: frozenset[str] = field(default_factory=frozenset)

    def special_tokens(self) -> frozenset[str]:
        return self.tokens


async def test_every_special_token_of_the_tokenizer(start: Start) -> None:
    added = [token["content"] for token in json.loads(TOKENIZER.read_bytes())["added_tokens"]]
    assert len(added) >= 8
    server = await start(reasoner=WithTheMiniaturesTokens(tokens=frozenset(added)))
    for token in added:
        for query in (token, f"the{token}cup", f"the cup {token.upper()}"):
            for content_type, body in (
                (FORM_TYPE, form(picture(), query.encode())),
                ("application/json", in_json(picture(), query=query)),
            ):
                refused = Case(query, body, 422, "invalid_field")
                check(await post(server, body, content_type), refused)
    assert server.reasoner.requests == []
    await still_right(server)
