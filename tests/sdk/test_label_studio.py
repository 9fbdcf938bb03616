"""The ML backend of Label Studio without Label Studio; tests/annotate/ has the real one."""

import base64
import json
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any
from wsgiref.util import setup_testing_defaults

import httpx
import numpy as np
import pytest

from label_studio_forms import BRUSH, unpacked
from scripted import ScriptedServer
from steps import Change, Problem
from wise_client import Client, RetryPolicy
from wise_client.integrations.label_studio.app import App
from wise_client.integrations.label_studio.backend import Backend, Settings
from wise_client.integrations.label_studio.media import Media

POLYGON = BRUSH.replace("BrushLabels", "PolygonLabels")
RECTANGLE = BRUSH.replace("BrushLabels", "RectangleLabels")
Call = Callable[..., tuple[str, dict[str, Any]]]


def requested(
    app: App, path: str, body: Any = None, authorization: str = ""
) -> tuple[str, dict[str, Any]]:
    """Send one request as a WSGI server does; returns the status line and the document."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ |= {"PATH_INFO": path, "REQUEST_METHOD": "GET" if body is None else "POST"}
    environ |= {"wsgi.input": BytesIO(content), "CONTENT_LENGTH": str(len(content))}
    environ["HTTP_AUTHORIZATION"] = authorization
    lines: list[str] = []

    def start(line: str, *_: Any) -> Any:
        lines.append(line)

    answer = b"".join(app(environ, start))
    return lines[0], json.loads(answer)


@pytest.fixture
def media(jpeg: bytes) -> Media:
    """Images as Label Studio serves them."""

    def label_studio(request: httpx.Request) -> httpx.Response:
        if request.headers.get("authorization") != "Token secret":
            return httpx.Response(302, headers={"location": "/user/login"})
        if request.url.path == "/data/upload/1/bad.jpg":
            return httpx.Response(200, content=b"not an image")
        return httpx.Response(200, content=jpeg, headers={"content-type": "image/jpeg"})

    return Media(transport=httpx.MockTransport(label_studio))


@pytest.fixture
def call(server: ScriptedServer, media: Media) -> Iterator[Call]:
    """Calls the backend as Label Studio does; returns the status line and the document."""
    with Client(server.url, retry=RetryPolicy(max_retries=0)) as client:
        backend = Backend(client, client, media, Settings(queries={"cup": "the bright cup"}))
        app = App(backend)

        def post(path: str, body: Any = None) -> tuple[str, dict[str, Any]]:
            return requested(app, path, body)

        yield post
        backend.close()


def setup_body(config: str = BRUSH, token: str = "secret") -> dict[str, Any]:
    return {"project": "1.5", "schema": config, "hostname": "http://ls", "access_token": token}


def task(number: int = 1, **data: str) -> dict[str, Any]:
    return {"id": number, "data": {"image": "/data/upload/1/a.jpg", **data}}


def ask(config: str, *tasks: dict[str, Any]) -> dict[str, Any]:
    return {"project": "1.5", "label_config": config, "tasks": list(tasks), "params": {}}


def test_prediction_has_the_masks_of_the_labels_query(call: Call, server: ScriptedServer) -> None:
    assert call("/setup", setup_body()) == ("200 OK", {"model_version": "fake-reasoner wise-s"})
    status, answer = call("/predict", ask(BRUSH, task()))
    assert status == "200 OK"
    assert server.queries[-1] == ["the bright cup", "nothing"]
    (prediction,) = answer["results"]
    (region,) = prediction["result"]
    assert (region["from_name"], region["to_name"], region["type"]) == ("tag", "img", "brushlabels")
    assert region["value"]["brushlabels"] == ["cup"]
    assert region["meta"]["text"] == ["bright, so this is it"]
    mask = unpacked(region["value"]["rle"]).reshape(40, 60, 4)[..., 3] > 0
    assert mask[5:25, 10:30].mean() > 0.98
    assert mask.sum() < 450


def test_the_strategy_of_the_command_is_asked_for_and_named(
    server: ScriptedServer, media: Media
) -> None:
    with Client(server.url, retry=RetryPolicy(max_retries=0)) as client:
        app = App(backend := Backend(client, client, media, Settings(strategy="seg-zero")))
        status, told = requested(app, "/setup", setup_body())
        assert (status, told) == ("200 OK", {"model_version": "fake-reasoner seg-zero"})
        assert requested(app, "/predict", ask(BRUSH, task()))[0] == "200 OK"
        assert server.received[-1].fields["strategy"] == "seg-zero"
        backend.close()


@pytest.mark.parametrize(("config", "kind"), [(POLYGON, "polygon"), (RECTANGLE, "rectangle")])
def test_polygons_and_rectangles_are_in_percent(call: Call, config: str, kind: str) -> None:
    call("/setup", setup_body(config))
    region = call("/predict", ask(config, task()))[1]["results"][0]["result"][0]
    value = region["value"]
    if kind == "polygon":
        x, y = np.array(value["points"]).T
    else:
        x = np.array([value["x"], value["x"] + value["width"]])
        y = np.array([value["y"], value["y"] + value["height"]])
    assert (x.min(), x.max()) == pytest.approx((100 * 10 / 60, 50), abs=2)
    assert (y.min(), y.max()) == pytest.approx((12.5, 62.5), abs=3)


def test_text_of_a_textarea_is_the_query(call: Call, server: ScriptedServer) -> None:
    call("/setup", setup_body())
    call("/predict", ask(BRUSH, task(question="the red one")))
    assert server.queries[-1] == ["the red one"]
    written = {"type": "textarea", "from_name": "ask", "value": {"text": ["the blue", "one"]}}
    call("/predict", ask(BRUSH, {**task(), "drafts": [{"result": [written]}]}))
    assert server.queries[-1] == ["the blue one"]


def test_a_server_that_is_away_is_an_error_and_no_prediction(
    call: Call, server: ScriptedServer
) -> None:
    call("/setup", setup_body())
    server.script.append(Problem(503, "not_ready"))
    status, answer = call("/predict", ask(BRUSH, task()))
    assert status.startswith("503 A detail (not_ready, HTTP 503")
    assert "results" not in answer


def test_one_bad_image_leaves_the_rest_of_a_batch(call: Call) -> None:
    call("/setup", setup_body())
    bad = {"id": 2, "data": {"image": "/data/upload/1/bad.jpg"}}
    status, answer = call("/predict", ask(BRUSH, task(), bad, {"id": 3, "data": {}}, task(4)))
    assert status == "200 OK"
    assert [bool(one) for one in answer["results"]] == [True, False, False, True]
    status, _ = call("/predict", ask(BRUSH, bad))
    assert status.startswith("400 ")


def test_a_model_that_gives_no_answer_is_an_error(call: Call, server: ScriptedServer) -> None:
    def unparsed(document: dict[str, Any]) -> dict[str, Any]:
        for one in document["results"]:
            one |= {"status": "unparsed", "instances": []}
        return document

    call("/setup", setup_body())
    server.script.append(Change(unparsed))
    assert call("/predict", ask(BRUSH, task()))[0].startswith("502 ")


def test_one_unread_answer_makes_no_empty_prediction(call: Call, server: ScriptedServer) -> None:
    """Nothing is meant by the one label, and of the other nobody knows."""
    config = BRUSH.replace('<Label value="cup"', '<Label value="dog"/><Label value="cup"')
    assert config != BRUSH

    def unknown(document: dict[str, Any]) -> dict[str, Any]:
        for one, status in zip(document["results"], ("no_target", "unparsed"), strict=False):
            one |= {"status": status, "instances": []}
        return document

    call("/setup", setup_body(config))
    server.script.append(Change(unknown))
    assert call("/predict", ask(config, task()))[0].startswith("502 ")


def test_a_wrong_token_is_an_error_that_says_so(call: Call) -> None:
    call("/setup", setup_body(token="wrong"))
    status, _ = call("/predict", ask(BRUSH, task()))
    assert status.startswith("424 ")


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("<View><Text name='t' value='$t'/></View>", "no Image with BrushLabels"),
        ("<View>", "not valid XML"),
        (
            "<View><Image name='i' value='$i'/><BrushLabels name='b' toName='i'/></View>",
            "have a Label",
        ),
    ],
)
def test_a_config_without_masks_is_refused_at_setup(call: Call, config: str, told: str) -> None:
    status, _ = call("/setup", setup_body(config))
    assert status.startswith("400 ")
    assert told in status


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", {}, {"label_config": BRUSH, "tasks": 3}])
def test_a_malformed_request_is_refused(call: Call, body: Any) -> None:
    assert call("/predict", body)[0].startswith("400 ")


def test_a_click_is_refined_and_nothing_is_asked(
    call: Call, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def refine(client: Client, image: bytes, **prompt: Any) -> Any:
        asked.append(prompt)
        return client.segment(image, "clicked")

    monkeypatch.setattr(Client, "refine", refine)
    call("/setup", setup_body())
    region: dict[str, Any] = {"type": "keypointlabels", "original_width": 60, "original_height": 40}
    region["value"] = {"x": 25, "y": 50, "width": 1, "labels": ["cup"]}
    body = {**ask(BRUSH, task()), "params": {"context": {"result": [region]}}}
    _, answer = call("/predict", body)
    assert asked == [{"box": None, "points": ((15, 20, 1),), "max_side_pixels": None}]
    assert answer["results"][0]["result"][0]["value"]["brushlabels"] == ["cup"]
    assert server.queries == ["clicked"]
    region["value"]["labels"] = ["dog"]
    assert call("/predict", body)[0].startswith("400 No BrushLabels")


def test_basic_authentication(server: ScriptedServer) -> None:
    with Client(server.url) as client:
        app = App(Backend(client, client, Media(), Settings()), "ann:secret")
        for password, status in (("secret", "200 OK"), ("other", "401 The user")):
            packed = base64.b64encode(f"ann:{password}".encode()).decode()
            line, _ = requested(app, "/health", authorization=f"Basic {packed}")
            assert line.startswith(status)
