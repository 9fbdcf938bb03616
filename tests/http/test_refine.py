"""POST /refine over HTTP on the fakes."""

import json
from typing import Any

import pytest

from fakes import DAB, FakeSegmenter
from gateways import Start, took
from pictures import picture
from refining import BOX, CLICK, HEIGHT, WIDTH, decoded, rectangle, refine, refused, rle
from wise_serve.contract.prompts import COARSE_SIDE


async def test_a_box(start: Start) -> None:
    answer = (await refine(await start(), {"box": BOX})).json()
    [instance] = answer["instances"]
    assert (decoded(instance) == rectangle(*BOX)).all()
    assert (instance["box"], instance["points"], instance["labels"]) == (BOX, [], [])
    assert instance["area"] == 30 * 18
    assert (answer["status"], answer["image"]) == ("found", {"width": WIDTH, "height": HEIGHT})
    assert set(answer) == {
        *("id", "status", "image", "image_digest", "instances", "timing_ms", "model")
    }
    assert answer["model"] == {"segmenter": "fake-segmenter"}


async def test_points_add_and_take_away(start: Start) -> None:
    clicks = [CLICK, {"x": 12, "y": 14, "label": 0}]
    [instance] = (await refine(await start(), {"box": BOX, "points": clicks})).json()["instances"]
    expected = rectangle(*BOX) & ~rectangle(12 - DAB, 14 - DAB, 12 + DAB, 14 + DAB)
    assert (decoded(instance) == expected).all()
    assert (instance["points"], instance["labels"]) == ([[20, 20], [12, 14]], [1, 0])


async def test_without_a_box_the_answer_has_the_masks_box(start: Start) -> None:
    [instance] = (await refine(await start(), {"points": [CLICK]})).json()["instances"]
    assert instance["box"] == [20 - DAB, 20 - DAB, 20 + DAB, 20 + DAB]


async def test_a_click_without_a_label_is_foreground(start: Start) -> None:
    server = await start()
    await refine(server, {"points": [{"x": 1, "y": 2.5}]})
    [prompt] = server.segmenter.prompts
    assert (prompt.points, prompt.labels) == (((1.0, 2.5),), (1,))


async def test_an_earlier_mask_reaches_the_segmenter(start: Start) -> None:
    server = await start()
    before = rectangle(16, 12, 48, 36)
    [instance] = (await refine(server, {"mask": rle(before)})).json()["instances"]
    assert (decoded(instance) == before).all()
    [prompt] = server.segmenter.prompts
    assert len(prompt.mask or b"") == COARSE_SIDE**2


async def test_many_prompts_are_answered_in_order(start: Start) -> None:
    boxes = [[x, 2, x + 5, 9] for x in range(0, 50, 5)]
    answer = (await refine(await start(), *({"box": box} for box in boxes))).json()
    assert [one["box"] for one in answer["instances"]] == boxes


@pytest.mark.parametrize(
    ("prompt", "multimask", "choice"),
    [
        ({"points": [CLICK]}, None, "best"),
        ({"points": [CLICK, CLICK]}, None, "single"),
        ({"points": [CLICK], "box": BOX}, None, "single"),
        ({"points": [CLICK]}, False, "single"),
        ({"box": BOX}, None, "single"),
        ({"box": BOX}, True, "all"),
    ],
)
async def test_prompt_and_multimask_decide_which_masks_are_decoded(
    start: Start, prompt: dict[str, Any], multimask: bool | None, choice: str
) -> None:
    server = await start()
    answer = (await refine(server, prompt, multimask=multimask)).json()
    assert server.segmenter.prompts[0].choice == choice
    [instance] = answer["instances"]
    assert [one["score"] for one in instance["alternatives"]] == (
        [0.8, 0.7] if choice == "all" else []
    )


async def test_every_mask_format(start: Start) -> None:
    server = await start()
    for kind, key in (("png", "png"), ("polygon", "polygons"), ("rle", "counts")):
        answer = (await refine(server, {"box": BOX}, mask_format=kind, multimask=True)).json()
        [instance] = answer["instances"]
        assert all(key in one["mask"] for one in (instance, *instance["alternatives"]))


async def test_a_form_is_as_good_as_json(start: Start) -> None:
    server = await start()
    prompt = {"box": BOX, "mask": rle(rectangle(0, 0, 32, 24)), "points": [CLICK]}
    form = await server.client.post(
        "/refine",
        files={"image": ("a.png", picture())},
        data={"prompts": json.dumps([prompt]), "multimask": "True", "mask_format": "rle"},
    )
    in_json = await refine(server, prompt, multimask=True)
    assert form.json()["instances"] == in_json.json()["instances"]


async def test_a_refine_request_is_counted_and_timed(start: Start) -> None:
    server = await start(segmenter=FakeSegmenter(encode_s=0.03))
    timing = (await refine(server, {"box": BOX})).json()["timing_ms"]
    assert took(timing["encode"], 31.0)
    assert timing["total"] >= timing["decode"] + timing["segment"]
    await refine(server, {"box": [1, 1, 1, 1]})
    labels = {"strategy": "refine"}
    assert server.sample("wise_requests_total", status="found", code="200", **labels) == 1
    assert server.sample("wise_requests_total", status="error", code="422", **labels) == 1
    assert server.sample("wise_request_seconds_count", **labels) == 1


# What is refused


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ({}, "a box, points or a mask"),
        ({"points": []}, "a box, points or a mask"),
        ({"box": [10, 10, 10, 20]}, "x1 < x2"),
        ({"box": [10, 10, 20]}, "prompts"),
        ({"box": [64, 0, 80, 10]}, "outside of the image of 64 x 48"),
        ({"points": [{"x": 65, "y": 3}]}, "outside of the image of 64 x 48"),
        ({"points": [{"x": 1, "y": 3, "label": 2}]}, "prompts"),
        ({"points": [{"x": True, "y": 3}]}, "prompts"),
        ({"points": [{"x": "1", "y": 3}]}, "prompts"),
        ({"points": [[1, 2]]}, "prompts"),
        ({"point": [CLICK]}, "prompts"),
        ({"mask": {"size": [64, 48], "counts": "0"}}, "a mask is 48 x 64"),
        ({"mask": {"size": [48, 64], "counts": "PPP"}}, "incomplete number"),
        ({"mask": {"size": [48, 64], "counts": "~"}}, "does not use"),
        ({"mask": {"size": [48, 64], "counts": "é"}}, "does not use"),
        ({"mask": {"size": [48, 64], "counts": "0"}}, "as many pixels"),
        ({"mask": {"size": [48, 64], "counts": ""}}, "prompts[0].mask.counts: "),
        ({"mask": {"size": [48, 64], "counts": [3072]}}, "prompts[0].mask.counts: "),
        ({"box": [1, 2, 3]}, "prompts[0].box[3]: "),
        ({"points": [CLICK, CLICK | {"label": 2}]}, "prompts[0].points[1].label: "),
    ],
)
async def test_an_invalid_prompt_is_refused(
    start: Start, prompt: dict[str, Any], text: str
) -> None:
    server = await start()
    response = await refine(server, prompt)
    refused(response, 422, "invalid_field", text)
    assert response.json()["field"] == "prompts"
    assert server.segmenter.prompts == []
    assert server.segmenter.open_now == 0


async def test_missing_and_too_many_prompts_are_refused(start: Start) -> None:
    server = await start(max_prompts=2, max_points=3)
    no_prompts = await server.client.post("/refine", json={"image": "QUJD"})
    refused(no_prompts, 400, "malformed_request", "'prompts' is missing")
    refused(
        await server.client.post("/refine", json={"prompts": []}), 400, "malformed_request", "image"
    )
    refused(await refine(server), 422, "invalid_field")
    refused(await refine(server, *[{"box": BOX}] * 3), 413, "too_large", "At most 2 prompts")
    refused(await refine(server, {"points": [CLICK] * 4}), 413, "too_large", "at most 3 points")
    refused(await refine(server, {"box": BOX}, query="a"), 422, "invalid_field", "no such field")
    long = {"mask": {"size": [48, 64], "counts": "0" * (3 * 2**20)}}
    refused(await refine(server, long), 413, "too_large")


async def test_a_box_is_cut_at_the_images_edges(start: Start) -> None:
    [instance] = (await refine(await start(), {"box": [-5, -9, 30, 90]})).json()["instances"]
    assert instance["box"] == [0, 0, 30, HEIGHT]


async def test_a_lost_segmenter_is_reported(start: Start) -> None:
    refused(
        await refine(await start(segmenter=FakeSegmenter(lost=True)), {"box": BOX}),
        503,
        "segmenter_lost",
    )


async def test_a_refine_request_past_its_deadline_is_504(start: Start) -> None:
    server = await start(segmenter=FakeSegmenter(decode_s=5.0), request_deadline_s=0.05)
    refused(await refine(server, {"box": BOX}), 504, "deadline_exceeded")
    assert (server.segmenter.open_now, server.runtime.admission.inflight) == (0, 0)
