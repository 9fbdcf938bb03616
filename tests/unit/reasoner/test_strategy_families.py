"""Answers of each family of checkpoints, in the form in which they are published, and frames."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wise_serve.contract.prompts import Prompt
from wise_serve.reasoner.answer import Answer, AnswerReader, Frame, read_answer
from wise_serve.reasoner.strategies.files import read_shipped, shipped_names
from wise_serve.reasoner.strategies.images import frame_size, view_of
from wise_serve.reasoner.strategies.strategy import Strategy

SIZE = (1280, 960)  # of the image, pixels
FENCED = (
    '```json\n[\n\t{{"bbox_2d": {0}, "label": "children skipping rope"}},\n'
    '\t{{"bbox_2d": {1}, "label": "children skipping rope"}}\n]\n```'
)
ONE = "{'bbox': [84,84,420,420], 'points_1': [105,210], 'points_2': [210,105]}"
TWO = (
    '[{"bbox_2d": [84, 84, 420, 420], "point_2d": [105, 210]}, '
    '{"bbox_2d": [420, 420, 840, 840], "point_2d": [630, 630]}]'
)
PUBLISHED = {
    "wise-s": f"<think>round</think><answer>{ONE}</answer>",
    "wise": f"<think> it rolls </think>\n<answer>{ONE}</answer>",
    "seg-zero": f"<think> It is the round one. </think>\n<answer>\n{ONE}\n</answer>",
    "pixelthink": f"<think> It is the round one. </think>\n<answer>\n{ONE}\n</answer>",
    "vision-reasoner": f"<think> Both roll. </think>\n<answer>{TWO}</answer>",
    "visurf": f"<think> Both roll. </think>\n<answer>{TWO}</answer>",
    "qwen2.5-vl": FENCED.format("[129, 95, 644, 476]", "[644, 476, 1288, 952]"),
    "qwen3-vl": FENCED.format("[100, 100, 500, 500]", "[500, 500, 1000, 1000]"),
    "qwen3-vl-points": '```json\n[\n\t{"point_2d": [500, 500], "label": "point_1"}\n]\n```',
    "seg-r1": "<think> It is the round one. </think> <bbox>[102,102,512,512]</bbox>, "
    "<points>[[128,256],[256,128],[960,64]]</points>, <labels>[1,1,0]</labels>",
}
BOXES = [(128, 96, 640, 480), (640, 480, 1280, 960)]
TWO_POINTS, TWO_OBJECTS = Prompt(BOXES[0], ((160, 240), (320, 120))), [Prompt(one) for one in BOXES]
ONE_POINT_EACH = [Prompt(BOXES[0], ((160, 240),)), Prompt(BOXES[1], ((960, 720),))]
MEANT = {
    **{key: [TWO_POINTS] for key in ("wise-s", "wise", "seg-zero", "pixelthink")},
    **dict.fromkeys(("vision-reasoner", "visurf"), ONE_POINT_EACH),
    **dict.fromkeys(("qwen2.5-vl", "qwen3-vl"), TWO_OBJECTS),
    "qwen3-vl-points": [Prompt(points=((640, 480),))],
    "seg-r1": [
        Prompt(BOXES[0], ((160, 240), (320, 120), (1200, 60)), (1, 1, 0), choice="single"),
    ],
}


def frame_of(strategy: Strategy, size: tuple[int, int]) -> Frame:
    return Frame(*size, *frame_size(strategy, view_of(strategy, size).size))


def near(answer: Answer, wanted: Sequence[Prompt]) -> bool:
    """Whether these are the objects, each number within a pixel of rounding."""

    def numbers(one: Prompt) -> list[float]:
        return [*(one.box or ()), *(number for point in one.points for number in point)]

    def form(one: Prompt) -> tuple[object, ...]:
        return one.box is None, len(one.points), one.labels, one.choice

    return list(map(form, answer.instances)) == list(map(form, wanted)) and all(
        abs(a - b) <= 1
        for got, want in zip(answer.instances, wanted, strict=True)
        for a, b in zip(numbers(got), numbers(want), strict=True)
    )


def test_every_shipped_strategy_has_a_published_answer() -> None:
    assert set(PUBLISHED) == set(shipped_names())


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_answer_is_read(name: str) -> None:
    strategy = read_shipped(name)
    answer = read_answer(PUBLISHED[name], "stop", strategy, frame_of(strategy, SIZE))
    assert answer.status == "found"
    assert near(answer, MEANT[name]), answer.instances
    assert bool(answer.rationale) == strategy.tagged


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - {"seg-r1"}))
def test_an_object_is_found_before_the_text_ends(name: str) -> None:
    strategy = read_shipped(name)
    reader = AnswerReader(strategy, frame_of(strategy, SIZE))
    text = PUBLISHED[name]
    found = reader.feed(text[: text.index("}") + 1]).instances
    assert len(found) == 1


@pytest.mark.parametrize("name", ["qwen2.5-vl", "qwen3-vl", "qwen3-vl-points"])
def test_without_tags_an_empty_list_names_nothing_and_prose_is_unparsed(name: str) -> None:
    strategy = read_shipped(name)
    for text, status in (("```json\n[]\n```", "no_target"), ("There is none.", "unparsed")):
        answer = read_answer(text, "stop", strategy, frame_of(strategy, SIZE))
        assert answer.status == status
    cut = read_answer('[{"bbox_2d": [1, 2', "length", strategy, frame_of(strategy, SIZE))
    assert cut.status == "truncated"


def made(**fields: Any) -> Strategy:
    return Strategy.model_validate(
        {"name": "made", "turn": {"template": "{question}"}, "max_tokens": 9, **fields}
    )


ASPECT = {"least_pixels": 3136, "most_pixels": 1003520, "multiple_pixels": 28}
FRAMES = {
    "square": made(image={"square_pixels": 840}, coordinates={"frame": "square"}),
    "image": made(image=ASPECT, coordinates={"frame": "image"}),
    "normalized": made(image=ASPECT, coordinates={"frame": "normalized", "range": 1000}),
}
sides = st.integers(16, 4096)


@given(st.sampled_from(list(FRAMES)), sides, sides, st.data())
def test_a_box_comes_back_within_a_pixel_of_rounding(
    frame: str, width: int, height: int, data: st.DataObject
) -> None:
    strategy = FRAMES[frame]
    x1, x2 = sorted(data.draw(st.lists(st.integers(0, width), min_size=2, max_size=2, unique=True)))
    y1, y2 = sorted(
        data.draw(st.lists(st.integers(0, height), min_size=2, max_size=2, unique=True))
    )
    ranges = frame_size(strategy, view_of(strategy, (width, height)).size)
    x_unit, y_unit = width / ranges[0], height / ranges[1]  # pixels of one step of a coordinate
    drawn = [round(x1 / x_unit), round(y1 / y_unit), round(x2 / x_unit), round(y2 / y_unit)]
    assume(drawn[0] < drawn[2] and drawn[1] < drawn[3])
    text = f'<think>t</think><answer>{{"bbox": {drawn}}}</answer>'
    answer = read_answer(text, "stop", strategy, frame_of(strategy, (width, height)))
    assume(answer.instances)  # a box thinner than a pixel is dropped
    box = answer.instances[0].box
    assert box is not None
    for got, meant, unit in zip(box, (x1, y1, x2, y2), (x_unit, y_unit) * 2, strict=True):
        assert abs(got - meant) <= unit / 2 + 0.5 + 1e-6
