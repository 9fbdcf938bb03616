"""Answers of points without a box, over HTTP."""

import json
from pathlib import Path

import pytest

from fakes import FakeReasoner
from gateways import Start
from streams import events
from wise_serve.contract.prompts import Prompt
from wise_serve.reasoner.strategies import STRATEGIES

MIXED = (
    '<think>two</think><answer>[{"point_2d": [420, 420]}, '
    '{"bbox_2d": [0, 0, 420, 420], "point_2d": [210, 210]}]</answer>'
)


@pytest.fixture
def pointing(tmp_path: Path) -> list[str]:
    """The file of a strategy whose objects may be points alone."""
    record = STRATEGIES["vision-reasoner"].model_dump(exclude_none=True)
    record |= {"name": "pointing", "answer": {"lone_points": True}}
    file = tmp_path / "pointing.json"
    file.write_text(json.dumps(record))
    return [str(file)]


async def test_the_mask_gives_the_box_and_a_stream_says_that_there_was_none(
    start: Start, pointing: list[str]
) -> None:
    reasoner = FakeReasoner(script=lambda _: MIXED)
    server = await start(reasoner=reasoner, strategy_file=pointing)
    got = events(await server.form(strategy="pointing", stream="true"))
    places = [data for name, data in got if name == "instance"]
    assert [one["box"] for one in places] == [None, [0, 0, 32, 24]]
    assert [one["points"] for one in places] == [[[32, 24]], [[16, 12]]]
    lone, boxed = got[-1][1]["instances"]
    x1, y1, x2, y2 = lone["box"]
    assert x1 <= 32 < x2
    assert y1 <= 24 < y2
    assert (x2 - x1) * (y2 - y1) == lone["area"]  # the fake's mask is a square about the point
    assert boxed["box"] == [0, 0, 32, 24]
    masks = [data for name, data in got if name == "mask"]
    assert {json.dumps(one["box"]) for one in masks} == {str(lone["box"]), str(boxed["box"])}


async def test_sam_2_is_given_the_point_alone_and_its_best_mask_is_kept(
    start: Start, pointing: list[str]
) -> None:
    server = await start(
        reasoner=FakeReasoner(script=lambda _: MIXED), strategy_file=pointing, strategy="pointing"
    )
    answer = (await server.form()).json()
    assert (answer["status"], len(answer["instances"])) == ("found", 2)
    assert Prompt(points=((32, 24),), choice="best") in server.segmenter.prompts


async def test_without_such_a_strategy_a_point_alone_is_unparsed(start: Start) -> None:
    server = await start(reasoner=FakeReasoner(script=lambda _: MIXED))
    answer = (await server.form(strategy="vision-reasoner")).json()
    assert answer["status"] == "unparsed"
    assert [one["box"] for one in answer["instances"]] == [[0, 0, 32, 24]]
