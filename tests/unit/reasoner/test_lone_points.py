"""Objects that consist of points without a box, for a strategy that allows them."""

import json
import os
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from answer_forms import answers
from spellings import Meant, thoughts
from wise_serve.contract.prompts import Prompt
from wise_serve.reasoner.answer import Answer, AnswerReader, Frame, read_answer
from wise_serve.reasoner.grammar import answer_pattern
from wise_serve.reasoner.strategies import STRATEGIES, Strategy
from wise_serve.reasoner.strategies.images import frame_size, view_of

EXAMPLES = int(os.environ.get("ANSWER_EXAMPLES", "60"))
SQUARE = Frame(840, 840, 840)  # coordinates pass unchanged
BOXED = STRATEGIES["wise-s"]
LONE = BOXED.model_copy(update={"answer": BOXED.answer.model_copy(update={"lone_points": True})})
BOX = Prompt((10, 100, 200, 210), ((30, 110),))
POINT, OTHER, PAIR = (
    Prompt(points=points) for points in (((30, 110),), ((35, 180),), ((30, 110), (35, 180)))
)
WITH_BOX = '{"bbox_2d": [10,100,200,210], "point_2d": [30,110]}'


def read(inside: str, strategy: Strategy = LONE, frame: Frame = SQUARE) -> Answer:
    return read_answer(f"<think>a</think><answer>{inside}</answer>", "stop", strategy, frame)


UNDERSTOOD = [
    ('{"point_2d": [30, 110]}', [POINT]),
    ('[{"point_2d": [30, 110], "label": "a cup"}]', [POINT]),
    ('{"x": 30, "y": 110}', [POINT]),
    ('[{"x": 30, "y": 110}, {"y": 180, "x": 35}]', [POINT, OTHER]),
    ('{"point": {"x": 30, "y": 110}}', [POINT]),
    ('{"points": [[30, 110], [35, 180]]}', [PAIR]),
    ('{"points_1": [30, 110], "points_2": [35, 180]}', [PAIR]),
    ('[{"point_2d": [30, 110]}, {"point_2d": [35, 180]}]', [POINT, OTHER]),
    ('{"bbox": null, "points_1": [30, 110]}', [POINT]),
    ('{"bbox": [], "points_1": [30, 110]}', [POINT]),
    ('{"objects": [{"point_2d": [30, 110]}], "count": 1}', [POINT]),
    ("point_2d: [30, 110]", [POINT]),
    ('```json\n[\n\t{"point_2d": [30, 110], "label": "cup"}\n]\n```', [POINT]),
    (f'[{WITH_BOX}, {{"point_2d": [35, 180]}}]', [BOX, OTHER]),
    (f'[{{"point_2d": [35, 180]}}, {WITH_BOX}]', [OTHER, BOX]),
    ('[{"point_2d": [30, 110]}, {"point_2d": [30, 110]}]', [POINT]),
]


@pytest.mark.parametrize(("inside", "prompts"), UNDERSTOOD)
def test_points_alone_are_an_object_where_the_strategy_has_such(
    inside: str, prompts: list[Prompt]
) -> None:
    answer = read(inside)
    assert (answer.status, list(answer.instances)) == ("found", prompts)


@pytest.mark.parametrize(("inside", "prompts"), UNDERSTOOD)
def test_points_alone_are_refused_by_other_strategies(inside: str, prompts: list[Prompt]) -> None:
    answer = read(inside, BOXED)
    assert answer.status == "unparsed"
    assert list(answer.instances) == [one for one in prompts if one.box is not None]


@pytest.mark.parametrize(
    "inside",
    [
        '{"point_2d": [30]}',
        '{"point_2d": [30, 110, 7]}',
        '{"point_2d": [30, "about 110"]}',
        '{"point_2d": [30, null]}',
        '{"point_2d": [0.3, 0.7]}',  # fractions, in a frame of pixels
        '{"point_2d": [30, 110], "confidence": 0}',
        '{"x": 30, "y": 110, "count": 0}',
        '{"points": [[30, 110], [40, 120]], "point_labels": [1, 0]}',
        '{"region": [10, 100, 200, 210], "point_2d": [30, 110]}',  # a box under a name unknown?
        '{"bbox": [10, 100, 200], "point_2d": [30, 110]}',
        '{"bbox": [10, 100, 200, 210], "points": [{"point_2d": [30, 110]}]}',
        '{"cup": {"x": 30, "y": 110}}',
        "[30, 110]",
        '{"point_2d": [900, 110]}',  # outside of the image
        '{"point_2d": [30, -20]}',
    ],
)
def test_an_ambiguous_object_of_points_is_refused(inside: str) -> None:
    answer = read(inside)
    assert answer.status == "unparsed"
    assert all(one.box for one in answer.instances)


@pytest.mark.parametrize(
    "inside",
    ["[]", "{}", '{"point_2d": []}', '{"point_2d": [-1, -1]}', '{"x": 0, "y": 0}',
     '{"bbox": [0,0,0,0], "point_2d": [0, 0]}'],
)  # fmt: skip
def test_an_empty_answer_of_points_names_nothing(inside: str) -> None:
    assert read(inside).status == "no_target"


def test_a_point_outside_is_dropped_and_one_on_the_far_edge_is_not() -> None:
    answer = read('{"points": [[900, 5], [840, 840], [-3, 2]]}')
    assert answer.instances == (Prompt(points=((839, 839),)),)


def test_points_beyond_the_strategys_are_dropped() -> None:
    (one,) = read('{"points": [[1, 2], [3, 4], [5, 6]]}').instances
    assert one == Prompt(points=((1, 2), (3, 4)))


def test_an_object_is_given_as_soon_as_its_brace_closes() -> None:
    reader = AnswerReader(LONE, SQUARE)
    assert not reader.feed('<think>a</think><answer>[{"point_2d": [30, 110]').instances
    assert reader.feed("}").instances == (POINT,)


@settings(max_examples=EXAMPLES)
@given(answers(lone_points=True), thoughts, st.lists(st.integers(0, 400), max_size=12))
def test_an_answer_of_boxes_and_points_is_read_as_it_is_meant(
    meant: tuple[str, list[Meant]], thought: str, cuts: list[int]
) -> None:
    inside, items = meant
    text = f"<think>{thought}</think><answer>{inside}</answer>"
    reader, seen = AnswerReader(LONE, SQUARE), list[Prompt]()
    for start, end in zip(edges := sorted({0, len(text), *cuts}), edges[1:], strict=False):
        seen += reader.feed(text[start:end]).instances
    answer, progress = reader.finish("stop")
    expected = [Prompt(None if item.lone else item.box, item.points) for item in items]
    assert (answer.status, list(answer.instances)) == ("found", list(dict.fromkeys(expected)))
    assert [*seen, *progress.instances] == list(answer.instances)


ASPECT = {"least_pixels": 3136, "most_pixels": 1003520, "multiple_pixels": 28}
FRAMES = [
    ({"square_pixels": 840}, {"frame": "square"}),
    (ASPECT, {"frame": "image"}),
    (ASPECT, {"frame": "normalized", "range": 1000}),
]
sides = st.integers(16, 4096)


@given(st.sampled_from(FRAMES), sides, sides, st.data())
def test_a_point_comes_back_within_a_pixel_of_rounding(
    frame: tuple[dict[str, int], dict[str, object]], width: int, height: int, data: st.DataObject
) -> None:
    strategy = Strategy.model_validate(
        {"name": "made", "turn": {"template": "{question}"}, "max_tokens": 9, "image": frame[0],
         "coordinates": frame[1], "answer": {"lone_points": True}}
    )  # fmt: skip
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    ranges = frame_size(strategy, view_of(strategy, (width, height)).size)
    units = width / ranges[0], height / ranges[1]  # pixels of one step of a coordinate
    drawn = [round(x / units[0]), round(y / units[1])]
    assume(any(drawn))  # [0, 0] says that there is none
    answer = read(json.dumps({"point_2d": drawn}), strategy, Frame(width, height, *ranges))
    ((got,),) = (one.points for one in answer.instances)
    for value, meant, unit in zip(got, (x, y), units, strict=True):
        assert abs(value - meant) <= unit / 2 + 0.5 + 1e-6


def test_a_strategy_of_lone_points_gives_sam_2_some() -> None:
    with pytest.raises(ValidationError, match="max_points must be at least 1"):
        Strategy.model_validate({**LONE.model_dump(), "max_points": 0})


def test_a_grammar_has_each_form_of_object_that_the_example_lists() -> None:
    example = f'[{WITH_BOX}, {{"point_2d": [35, 180]}}]'
    turn = LONE.turn.model_copy(update={"example": example})
    pattern = answer_pattern(LONE.model_copy(update={"turn": turn}))
    assert pattern is not None
    for inside in (example, f"[{WITH_BOX}]", '[{"point_2d": [1, 2]}, {"point_2d": [3, 4]}]'):
        assert re.fullmatch(pattern, f"<think>a</think><answer>{inside}</answer>")
    assert not re.fullmatch(pattern, '<think>a</think><answer>[{"point": [1, 2]}]</answer>')
