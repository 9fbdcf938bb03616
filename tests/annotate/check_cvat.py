"""The function for CVAT with its own SDK and command line, and a real wise-serve.

What CVAT's server would be asked is answered by stand-ins: the server itself needs its containers
and is not run. Run by `make annotate-test`.
"""

import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cvat_sdk.auto_annotation as cvataa
import cvat_sdk.auto_annotation.driver as driver
import numpy as np
import pytest
from cvat_cli._internal.agent import get_function_driver_class
from cvat_cli._internal.agent_driver_interaction import (
    _InteractionFunctionContextImpl,
    _InteractionPromptsImpl,
)
from cvat_cli._internal.common import FunctionLoader
from cvat_cli._internal.parsers import parse_function_parameter
from cvat_sdk import models
from cvat_sdk.masks import decode_mask
from PIL import Image, ImageDraw

from wise_client import Client, InputError
from wise_client.errors import ConnectFailedError

WISE_URL = os.environ["WISE_URL"]
EXAMPLE = Path(os.environ["WISE_EXAMPLE"])
QUERIES = {"roll": "the red circle", "box": "the blue square"}
LABEL_IDS = {"roll": 70, "box": 71}  # the task's own


class Tasks:
    """Keeps what the driver uploads."""

    def __init__(self) -> None:
        self.uploaded: list[models.LabeledShapeRequest] | None = None
        self.api = self

    def partial_update_annotations(self, action: str, task: int, **body: Any) -> None:
        assert (action, task) == ("create", 7)
        self.uploaded = body["patched_labeled_data_request"].shapes


def loaded(*parameters: str) -> Any:
    """The function as `cvat-cli task auto-annotate -p ... -p ...` loads it."""
    given = dict(parse_function_parameter(one) for one in parameters)
    return FunctionLoader("wise_client.integrations.cvat", None, given).load()


def annotated(
    monkeypatch: pytest.MonkeyPatch, function: Any, kind: str = "any", **options: Any
) -> list[models.LabeledShapeRequest]:
    """The SDK's driver on a task with one image."""
    labels = [
        models.Label._from_openapi_data(
            name=name, id=number, type=kind, attributes=[], sublabels=[]
        )
        for name, number in LABEL_IDS.items()
    ]
    media = SimpleNamespace(load_image=lambda: Image.open(EXAMPLE))
    sample = SimpleNamespace(frame_name="example.jpg", frame_index=3, media=media)
    data = SimpleNamespace(labels=labels, samples=[sample])
    monkeypatch.setattr(driver, "TaskDataset", lambda *_, **__: data)
    client = SimpleNamespace(tasks=Tasks(), logger=logging.getLogger("cvat"))
    try:
        cvataa.annotate_task(client, 7, function, allow_unmatched_labels=True, **options)
    except Exception:
        assert client.tasks.uploaded is None
        raise
    assert client.tasks.uploaded is not None
    return list(client.tasks.uploaded)


@pytest.fixture(scope="module")
def ours() -> dict[int, np.ndarray]:
    with Client(WISE_URL) as client:
        answers = client.segment_queries(Image.open(EXAMPLE), list(QUERIES.values()))
    return {LABEL_IDS[name]: one.mask for name, one in zip(QUERIES, answers, strict=True)}


@pytest.fixture
def both() -> Any:
    words = [f"{label}=str:{query}" for label, query in QUERIES.items()]
    return loaded(f"url=str:{WISE_URL}", *words)


def test_masks_are_ours_to_the_pixel(
    monkeypatch: pytest.MonkeyPatch, both: Any, ours: dict[int, np.ndarray]
) -> None:
    shapes = annotated(monkeypatch, both)
    assert {one.label_id for one in shapes} == set(LABEL_IDS.values())
    for one in shapes:
        assert (one.type.value, one.frame, one.source) == ("mask", 3, "auto")
        mask = decode_mask(one.points, image_width=640, image_height=480)
        assert np.array_equal(mask, ours[one.label_id])


@pytest.mark.parametrize("wish", ["conv_mask_to_poly", "shape"])
def test_polygons_enclose_our_masks(
    monkeypatch: pytest.MonkeyPatch, ours: dict[int, np.ndarray], wish: str
) -> None:
    words = [f"url=str:{WISE_URL}", "label=str:roll", "query=str:the red circle"]
    if wish == "shape":
        shapes = annotated(monkeypatch, loaded(*words, "shape=str:polygon"), "polygon")
    else:
        shapes = annotated(monkeypatch, loaded(*words), conv_mask_to_poly=True)
    drawn = Image.new("1", (640, 480))
    for one in shapes:
        assert one.type.value == "polygon"
        ImageDraw.Draw(drawn).polygon(one.points, fill=1)
    mask, drawn_mask = ours[LABEL_IDS["roll"]], np.asarray(drawn)
    assert (mask & drawn_mask).sum() / (mask | drawn_mask).sum() > 0.97


def test_rectangles(monkeypatch: pytest.MonkeyPatch, ours: dict[int, np.ndarray]) -> None:
    function = loaded(f"url=str:{WISE_URL}", "box=str:the blue square", "shape=str:rectangle")
    (shape,) = annotated(monkeypatch, function, "rectangle")
    rows, columns = np.nonzero(ours[LABEL_IDS["box"]])
    assert shape.points == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_objects_below_the_threshold_are_left_out(
    monkeypatch: pytest.MonkeyPatch, both: Any
) -> None:
    with Client(WISE_URL) as client:
        scores = [
            client.segment(Image.open(EXAMPLE), query).score or 0 for query in QUERIES.values()
        ]
    over = max(scores) + 1e-6
    assert len(annotated(monkeypatch, both, conf_threshold=min(scores))) == len(QUERIES)
    assert annotated(monkeypatch, both, conf_threshold=over) == []


def test_a_server_that_is_away_uploads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wise_client.retry.RetryPolicy.wait_s", lambda *_: None)
    function = loaded("url=str:http://127.0.0.1:9", "roll=str:")
    with pytest.raises(ConnectFailedError):
        annotated(monkeypatch, function)


def test_an_agent_registers_and_runs_it(both: Any) -> None:
    """The fields that `cvat-cli function create-native` sends."""
    kind = get_function_driver_class(both.spec)
    fields = kind.get_remote_function_fields(both.spec)
    assert [one["name"] for one in fields["labels_v2"]] == ["roll", "box"]


def test_clicks_of_an_agent_go_through_refine() -> None:
    function = loaded(f"url=str:{WISE_URL}", "interactive=bool:true")
    kind = get_function_driver_class(function.spec)
    assert kind.get_remote_function_fields(function.spec)
    box = ((368.0, 83.0), (532.0, 247.0))
    prompts = _InteractionPromptsImpl(
        pos_points=((450.0, 165.0),), neg_points=((300.0, 60.0),), bounding_box=box
    )
    context = _InteractionFunctionContextImpl()
    (shape,) = function.detect(context, Image.open(EXAMPLE), prompts)
    with Client(WISE_URL) as client:
        answer = client.refine(
            Image.open(EXAMPLE), box=(*box[0], *box[1]), points=[(450, 165, 1), (300, 60, 0)]
        )
    mask = decode_mask(shape.points, image_width=640, image_height=480)
    assert np.array_equal(mask, answer.mask)
    assert float(shape.attributes[0].value) == pytest.approx(answer.score, abs=1e-4)


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ([], "No label to ask for"),
        (["a=str:", "interactive=bool:true"], "asks no query"),
        (["a=str:", "shape=str:circle"], "shape is one of mask, polygon, rectangle"),
    ],
)
def test_a_wrong_function_is_refused(parameters: list[str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        loaded(*parameters)
