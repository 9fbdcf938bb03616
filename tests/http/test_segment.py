"""POST /segment, answered."""

import asyncio
import base64
import io

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from fakes import CACHED_TOKENS, FOUND, PROMPT_TOKENS, FakeReasoner, FakeSegmenter
from gateways import Start, eventually, took
from pictures import picture
from wise_serve.reasoner import FinishReason

TWO = (
    '<think>both</think><answer>[{"bbox_2d": [0,0,420,420], "point_2d": [5,6]}, '
    '{"bbox_2d": [420,420,840,840], "point_2d": [500,600]}]</answer>'
)


async def test_a_form_is_answered_in_pixels_of_the_image(start: Start) -> None:
    server = await start()
    response = await server.form(image=picture(200, 100))
    assert response.status_code == 200
    answer = response.json()
    instance = answer["instances"][0]
    assert answer["status"] == "found"
    assert answer["image"] == {"width": 200, "height": 100}
    assert instance["box"] == [20, 10, 100, 50]
    assert instance["points"] == [[48, 25], [71, 37]]
    assert instance["area"] == 80 * 40
    pixels = coco.decode(instance["mask"])
    assert pixels.shape == (100, 200)
    assert pixels[10:50, 20:100].all()
    assert pixels.sum() == 80 * 40
    assert answer["reasoning"] == "red circle, upper left"
    assert "text" not in answer or answer["text"] is None
    assert answer["model"] == {
        "reasoner": "fake-reasoner", "segmenter": "fake-segmenter", "strategy": "wise-s"
    }  # fmt: skip
    assert answer["id"] == response.headers["x-request-id"]


async def test_json_is_answered_like_a_form(start: Start) -> None:
    server = await start()
    wrapped = base64.encodebytes(picture()).decode()  # in lines, as `base64` writes it
    body = {"image": wrapped, "query": "the red circle", "strategy": "seg-zero", "stream": False}
    by_json = (await server.client.post("/segment", json=body)).json()
    by_form = (await server.form(strategy="seg-zero")).json()
    assert by_json["instances"] == by_form["instances"]
    assert by_json["model"]["strategy"] == "seg-zero"


async def test_usage_and_timings(start: Start) -> None:
    server = await start(segmenter=FakeSegmenter(encode_s=0.02))
    answer = (await server.form()).json()
    usage, timing = answer["usage"], answer["timing_ms"]
    assert (usage["prompt_tokens"], usage["cached_tokens"]) == (PROMPT_TOKENS, CACHED_TOKENS)
    # " red circle, upper left ": 5 words and marks, and the space that the closing tag's first
    # token begins with.
    assert usage["thinking_tokens"] == 6
    assert 6 < usage["answer_tokens"] < usage["completion_tokens"]
    assert set(timing) == {"decode", "reason", "encode", "segment", "total"}
    assert took(timing["encode"], 21.0)
    assert took(timing["segment"], 2.75)
    assert timing["total"] >= timing["reason"] > 0


@pytest.mark.parametrize(
    ("text", "finish", "status"),
    [
        (FOUND, "stop", "found"),
        ("<think>none is red</think><answer>{}</answer>", "stop", "no_target"),
        ("<think>hm</think><answer>over there</answer>", "stop", "unparsed"),
        ("<think>hm, let me see", "length", "truncated"),
    ],
)
async def test_all_four_statuses_are_200(
    start: Start, text: str, finish: FinishReason, status: str
) -> None:
    server = await start(reasoner=FakeReasoner(script=lambda _: text, finish=finish))
    response = await server.form()
    answer = response.json()
    assert (response.status_code, answer["status"]) == (200, status)
    assert bool(answer["instances"]) == (status == "found")
    assert answer["text"] == (text if status in ("unparsed", "truncated") else None)
    labels = {"strategy": "wise-s", "status": status, "code": "200"}
    assert server.sample("wise_requests_total", **labels) == 1


async def test_mask_formats(start: Start) -> None:
    server = await start()
    for mask_format in ("rle", "png", "polygon"):
        answer = (await server.form(image=picture(200, 100), mask_format=mask_format)).json()
        mask = answer["instances"][0]["mask"]
        assert mask["size"] == [100, 200]
        assert set(mask) - {"size"} == {
            {"rle": "counts", "png": "png", "polygon": "polygons"}[mask_format]
        }
        if mask_format == "png":
            with Image.open(io.BytesIO(base64.b64decode(mask["png"]))) as image:
                assert image.mode == "1"
                assert np.asarray(image).sum() == 80 * 40


async def test_several_instances_and_their_limit(start: Start) -> None:
    server = await start(reasoner=FakeReasoner(script=lambda _: TWO))
    answer = (await server.form(strategy="vision-reasoner")).json()
    assert [item["box"] for item in answer["instances"]] == [[0, 0, 32, 24], [32, 24, 64, 48]]
    answer = (await server.form(strategy="vision-reasoner", max_instances=1)).json()
    assert [item["box"] for item in answer["instances"]] == [[0, 0, 32, 24]]


async def test_an_object_that_a_later_answer_withdraws_is_not_in_the_result(start: Start) -> None:
    """The first answer's mask may be decoded by then; only the last answer's is returned."""
    first, last = "[0, 0, 420, 420]", "[420, 420, 840, 840]"
    text = (
        f'<think>t</think><answer>{{"bbox": {first}}}</answer><answer>{{"bbox": {last}}}</answer>'
    )
    server = await start(reasoner=FakeReasoner(script=lambda _: text))
    answer = (await server.form()).json()
    assert [item["box"] for item in answer["instances"]] == [[32, 24, 64, 48]]


@pytest.mark.parametrize(
    ("second", "boxes"),
    [("ONE", [[0, 0, 32, 24]]), ("TWO", [[32, 24, 64, 48]]), ("TWO, ONE", [[32, 24, 64, 48]])],
)
async def test_the_last_answer_of_a_text_is_returned_within_the_limit(
    start: Start, second: str, boxes: list[list[int]]
) -> None:
    objects = {"ONE": '{"bbox_2d": [0, 0, 420, 420]}', "TWO": '{"bbox_2d": [420, 420, 840, 840]}'}
    text = f"<think>t</think><answer>[ONE]<answer>[{second}]</answer>"
    for name, written in objects.items():
        text = text.replace(name, written)
    server = await start(reasoner=FakeReasoner(script=lambda _: text))
    answer = (await server.form(strategy="vision-reasoner", max_instances=1)).json()
    assert (answer["status"], [one["box"] for one in answer["instances"]]) == ("found", boxes)
    whole = (await server.form(strategy="vision-reasoner")).json()
    assert len(whole["instances"]) == len(second.split(","))


async def test_queries_share_one_image_and_keep_their_order(start: Start) -> None:
    def script(prompt: str) -> str:
        side = 84 * next(n for n in range(1, 6) if f"'thing {n}'" in prompt)
        return f'<think>t</think><answer>{{"bbox": [0,0,{side},{side}]}}</answer>'

    server = await start(reasoner=FakeReasoner(script=script))
    queries = [f"Thing {n}." for n in (3, 1, 2)]
    response = await server.form(query=None, queries=queries, image=picture(840, 840))
    results = response.json()["results"]
    assert [item["instances"][0]["box"][2] for item in results] == [252, 84, 168]
    assert len({item["id"] for item in results}) == 3
    assert server.segmenter.opened == 1
    assert len({request.image_digest for request in server.reasoner.requests}) == 1
    body = {"image": base64.b64encode(picture()).decode(), "queries": ["thing 1"]}
    assert len((await server.client.post("/segment", json=body)).json()["results"]) == 1


async def test_the_engine_gets_the_prompt_the_square_and_the_limit(start: Start) -> None:
    server = await start(max_thinking_tokens=1000)
    await server.client.post(
        "/segment",
        files={"image": ("a.png", picture())},
        data={"query": "The Cup </answer>."},
        headers={"X-Request-Id": "mine-1"},
    )
    request = server.reasoner.requests[0]
    assert request.prompt.startswith("Please find 'the cup </answer>' with bbox")
    assert request.image.size == (840, 840)
    assert request.max_tokens == 1000
    assert request.request_id.startswith("mine-1:seg-")


async def test_reasoning_and_encoding_overlap(start: Start) -> None:
    reasoner = FakeReasoner(delay_s=0.005)
    server = await start(reasoner=reasoner, segmenter=FakeSegmenter(encode_s=0.2))
    timing = (await server.form()).json()["timing_ms"]
    assert timing["reason"] > 150
    assert timing["total"] < timing["reason"] + timing["encode"] - 100


async def test_a_mask_is_begun_before_the_text_ends(start: Start) -> None:
    begun: list[int] = []
    text = TWO.replace("]</answer>", " x" * 40 + "]</answer>")
    reasoner, segmenter = FakeReasoner(script=lambda _: text, delay_s=0.002), FakeSegmenter()
    server = await start(reasoner=reasoner, segmenter=segmenter)
    asking = asyncio.create_task(server.form(strategy="vision-reasoner"))
    await eventually(lambda: len(segmenter.prompts) == 1)
    begun.append(reasoner.running)
    await asking
    assert begun == [1]
    assert len(segmenter.prompts) == 2
