"""The ML backend with a real Label Studio and a real wise-serve. Run by `make annotate-test`.

The judge of brush masks is Label Studio's own: its export, and its SDK's decoder.
"""

import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from door import Door
from label_studio_sdk import LabelStudio
from label_studio_sdk.converter.brush import decode_rle
from label_studio_server import LabelStudioServer, label_studio, ml_backend

from wise_client import Client

WISE_URL = os.environ["WISE_URL"]
EXAMPLE = Path(os.environ["WISE_EXAMPLE"])  # 640 x 480: a red circle, a blue square, a star ...
BRUSH = """<View><Image name="img" value="$image"/>
<BrushLabels name="tag" toName="img">
<Label value="the red circle"/><Label value="box"/></BrushLabels>
<KeyPointLabels name="click" toName="img" smart="true"><Label value="box"/></KeyPointLabels>
<RectangleLabels name="drag" toName="img" smart="true"><Label value="box"/></RectangleLabels>
<TextArea name="ask" toName="img"/></View>"""
DRAWN = {"id": "x", "to_name": "img", "original_width": 640, "original_height": 480,
         "image_rotation": 0}  # fmt: skip
SENTENCES = {"the red circle": "the red circle", "box": "the blue square"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudioServer]:
    with label_studio(tmp_path_factory.mktemp("label-studio")) as running:
        yield running


@pytest.fixture(scope="module")
def backend(server: LabelStudioServer) -> Iterator[str]:
    words = ["--label-studio-url", server.url, "--label-studio-token", server.token]
    with ml_backend(WISE_URL, *words, "--query", "box=the blue square") as url:
        yield url


@pytest.fixture(scope="module")
def ours() -> dict[str, np.ndarray]:
    with Client(WISE_URL) as client:
        answers = client.segment_queries(EXAMPLE, list(SENTENCES.values()))
    return {label: one.mask for label, one in zip(SENTENCES, answers, strict=True)}


@pytest.fixture(scope="module")
def brushed(server: LabelStudioServer, backend: str) -> int:
    """A project whose two tasks have predictions."""
    project = server.project(BRUSH, backend)
    server.upload(project, EXAMPLE, EXAMPLE)
    server.retrieve(project)
    return project


def painted(region: dict[str, Any]) -> np.ndarray:
    shape = region["original_height"], region["original_width"], 4
    return np.asarray(decode_rle(region["value"]["rle"])).reshape(shape)[..., 3] > 0


def test_predictions_of_a_whole_project_are_our_masks(
    server: LabelStudioServer, brushed: int, ours: dict[str, np.ndarray]
) -> None:
    with Client(WISE_URL) as client:
        models = f"{client.info()['models']['reasoner']} wise-s"
    predictions = server.predictions(brushed)
    assert len(predictions) == 2
    for one in predictions:
        regions = {region["value"]["brushlabels"][0]: region for region in one["result"]}
        assert regions.keys() == SENTENCES.keys()
        for label, region in regions.items():
            assert np.array_equal(painted(region), ours[label])
        assert one["model_version"] == models
        assert 0 < one["score"] <= 1


def test_exported_annotations_are_our_masks_to_the_pixel(
    server: LabelStudioServer, brushed: int, ours: dict[str, np.ndarray]
) -> None:
    server.act(brushed, "predictions_to_annotations")
    sdk = LabelStudio(base_url=server.url, api_key=server.token)
    exported = b"".join(sdk.projects.exports.download_sync(brushed, export_type="BRUSH_TO_NUMPY"))
    with zipfile.ZipFile(io.BytesIO(exported)) as archive:
        arrays = {name: np.load(io.BytesIO(archive.read(name))) for name in archive.namelist()}
    assert len(arrays) == 4
    for name, array in arrays.items():
        label = next(one for one in SENTENCES if f"-{one}-" in name)
        assert np.array_equal(array > 0, ours[label])


def test_a_task_that_has_a_prediction_is_not_asked_about_again(
    server: LabelStudioServer, brushed: int
) -> None:
    server.retrieve(brushed)
    assert len(server.predictions(brushed)) == 2


@pytest.mark.parametrize("kind", ["PolygonLabels", "RectangleLabels"])
def test_polygons_and_rectangles(
    server: LabelStudioServer, backend: str, ours: dict[str, np.ndarray], kind: str
) -> None:
    config = f"""<View><Image name="i" value="$image"/><{kind} name="t" toName="i">
    <Label value="the red circle"/></{kind}></View>"""
    project = server.project(config, backend)
    server.upload(project, EXAMPLE)
    server.retrieve(project)
    (prediction,) = server.predictions(project)
    (region,) = prediction["result"]
    rows, columns = np.nonzero(ours["the red circle"])
    value, size = region["value"], np.array([640, 480]) / 100
    if kind == "PolygonLabels":
        corners = np.array(value["points"]) * size
        low, high = corners.min(axis=0), corners.max(axis=0)
    else:
        low = np.array([value["x"], value["y"]]) * size
        high = low + np.array([value["width"], value["height"]]) * size
    assert low == pytest.approx([columns.min(), rows.min()], abs=1.01)
    assert high == pytest.approx([columns.max() + 1, rows.max() + 1], abs=1.01)


def interactive(
    server: LabelStudioServer, project: int, result: list[dict[str, Any]]
) -> dict[str, Any]:
    """What the editor sends when a smart tool was used."""
    task = server.tasks(project)[0]["id"]
    (attached,) = server.call("GET", f"/api/ml?project={project}")
    body = {"task": task, "context": {"result": result}}
    path = f"/api/ml/{attached['id']}/interactive-annotating"
    return dict(server.call("POST", path, json=body))


def test_a_sentence_in_the_text_area_is_asked(
    server: LabelStudioServer, brushed: int, ours: dict[str, np.ndarray]
) -> None:
    text = {"type": "textarea", "from_name": "ask", "to_name": "img", "id": "x"}
    answer = interactive(server, brushed, [{**text, "value": {"text": ["the blue square"]}}])
    (region,) = answer["data"]["result"]
    assert region["value"]["brushlabels"] == ["the red circle"]  # the first label
    assert np.array_equal(painted(region), ours["box"])


def keypoint(x: float, y: float, positive: bool = True) -> dict[str, Any]:
    """As the editor sends it; pixels of the example image."""
    value: dict[str, Any] = {"x": x / 6.4, "y": y / 4.8, "width": 0.5}
    value |= {"keypointlabels": ["box"], "labels": ["box"]}
    return {**DRAWN, "type": "keypointlabels", "from_name": "click", "is_positive": positive,
            "value": value}  # fmt: skip


def rectangle(x: float, y: float, width: float, height: float) -> dict[str, Any]:
    value: dict[str, Any] = {"x": x / 6.4, "y": y / 4.8}
    value |= {"width": width / 6.4, "height": height / 4.8}
    value |= {"rotation": 0, "rectanglelabels": ["box"], "labels": ["box"]}
    return {**DRAWN, "type": "rectanglelabels", "from_name": "drag", "value": value}


def test_clicks_and_a_box_go_through_refine(server: LabelStudioServer, brushed: int) -> None:
    drawn = [rectangle(368, 83, 164, 164), keypoint(450, 165), keypoint(300, 60, positive=False)]
    (region,) = interactive(server, brushed, drawn)["data"]["result"]
    with Client(WISE_URL) as client:
        answer = client.refine(
            EXAMPLE, box=(368, 83, 532, 247), points=[(450, 165, 1), (300, 60, 0)]
        )
    assert (region["from_name"], region["value"]["brushlabels"]) == ("tag", ["box"])
    assert answer.mask.sum() > 1000
    assert np.array_equal(painted(region), answer.mask)


def test_images_that_need_the_token_are_not_had_without_it(server: LabelStudioServer) -> None:
    """Label Studio 1.23 gives its ML backends a legacy token, which it then refuses."""
    with ml_backend(WISE_URL, "--label-studio-url", server.url) as without:
        project = server.project(BRUSH, without)
        server.upload(project, EXAMPLE)
        server.retrieve(project)
        assert server.predictions(project) == []
        answer = interactive(server, project, [])
        assert "--label-studio-token" in answer["errors"][0]


def test_a_wise_serve_that_is_away_leaves_no_prediction(
    server: LabelStudioServer, ours: dict[str, np.ndarray]
) -> None:
    """When it is back, the same task is asked about."""
    words = ["--label-studio-url", server.url, "--label-studio-token", server.token]
    words += ["--query", "box=the blue square"]
    with Door(WISE_URL) as door, ml_backend(door.url, *words) as backend:
        project = server.project(BRUSH, backend)
        server.upload(project, EXAMPLE)
        door.shut()
        assert httpx.get(f"{backend}/health").status_code == 503
        server.retrieve(project)
        assert server.predictions(project) == []
        assert (
            "503 Server Error: The connection was lost"
            in interactive(server, project, [])["errors"][0]
        )
        door.open()
        server.retrieve(project)
        (prediction,) = server.predictions(project)
        assert np.array_equal(painted(prediction["result"][0]), ours["the red circle"])


def test_a_config_without_masks_is_refused_with_the_reason(
    server: LabelStudioServer, backend: str
) -> None:
    config = '<View><Text name="t" value="$t"/><Choices name="c" toName="t">'
    project = server.project(config + '<Choice value="a"/></Choices></View>')
    refused = server.http.post("/api/ml", json={"url": backend, "project": project})
    assert refused.status_code == 400
    assert "no Image with BrushLabels" in refused.text
