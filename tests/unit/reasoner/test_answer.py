"""Generated text -> answer: what the models are known to write, and anything at all."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wise_serve.contract.prompts import Prompt
from wise_serve.reasoner import FinishReason
from wise_serve.reasoner.answer import Answer, AnswerReader, Frame, place, read_answer
from wise_serve.reasoner.scanner import RawInstance
from wise_serve.reasoner.strategies import STRATEGIES, Strategy

SQUARE = Frame(840, 840, 840)  # coordinates pass unchanged
ONE = Prompt((10, 100, 200, 210), ((30, 110), (35, 180)))
ONE_POINT = Prompt((10, 100, 200, 210), ((30, 110),))
NO_POINT = Prompt((10, 100, 200, 210), ())


def wise(text: str, finish: str = "stop") -> Answer:
    return read_answer(text, finish, STRATEGIES["wise-s"], SQUARE)  # type: ignore[arg-type]


def answered(text: str) -> Answer:
    return wise(f"<think>cup</think><answer>{text}</answer>")


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ('{"bbox": [10,100,200,210], "points_1": [30,110], "points_2": [35,180]}', ONE),
        ("{'bbox': [10,100,200,210], 'points_1': [30,110], 'points_2': [35,180]}", ONE),
        ("{\"bbox': [10,100,200,210], 'points_1\": [30,110], points_2: [35,180]}", ONE),
        ('{"bbox": (10,100,200,210), "points_1": (30,110), "points_2": (35,180)}', ONE),
        ('{"bbox": [10,100,200,210,], "points_1": [30,110], "points_2": [35,180],}', ONE),
        (
            '```json\n{"bbox": [10,100,200,210], "points_1": [30,110], "points_2": [35,180]}\n```',
            ONE,
        ),
        ('Here: {"bbox": [10,100,200,210], "points_1": [30,110], "points_2": [35,180]}.', ONE),
        (
            '{"bbox": ["10","100","200","210"], "points_1": ["30","110"], "points_2": ["35", 180]}',
            ONE,
        ),
        ('{"bbox": "[10, 100, 200, 210]", "points_1": "30, 110", "points_2": "(35, 180)"}', ONE),
        ('{"bbox": [200,210,10,100], "points_1": [30,110], "points_2": [35,180]}', ONE),
        ('{"bbox": [[10,100],[200,210]], "points_1": [[30,110]], "points_2": [[35,180]]}', ONE),
        ('{"bbox": [10,100,200,210], "points": [[30,110],[35,180]]}', ONE),
        ('{"bbox": [10,100,200,210], "points": [{"x": 30, "y": 110}, {"x": 35, "y": 180}]}', ONE),
        (
            '{"bbox": {"x1":10,"y1":100,"x2":200,"y2":210}, "point_1":[30,110],"point_2":[35,180]}',
            ONE,
        ),
        ('{"bbox": [10,100,200,210], "points_1": [30,110], "points_2": [35,180]', ONE),
        ('"bbox": [10,100,200,210], "points_1": [30,110], "points_2": [35,180]', ONE),
        ('{"bbox": [10,100,200,210, "points_1": [30,110], "points_2": [35,180]}', ONE),
        ('{"answer": {"bbox": [10,100,200,210], "points_1": [30,110], "points_2": [35,180]}}', ONE),
        (
            '{"label": "cup 2", "bbox": [10,100,200,210], "n": 3, "points": [30,110,35,180]}',
            ONE,
        ),
        ('{"bbox": [10.0,99.8,2e2,210], "points_1": [30,110], "points_2": [35,180]}', ONE),
        ('{"bbox": [10,100,200,210], "points 1": [30,110], "points 2": [35,180]}', ONE),
        (
            '{"bbox":[10,100,200,210], "points_1":[30,110], "points_2":[35,180], "points_3":[9,9]}',
            ONE,
        ),
        ('{"bbox_2d": [10,100,200,210], "point_2d": [30,110]}', ONE_POINT),
        ('{"bbox": [10,100,200,210], "points_1": [30,110]}', ONE_POINT),
        ('{"bbox": [10,100,200,210], "points_1": [30,110], "points_2": [35]}', ONE_POINT),
        ('{"bbox": [10,100,200,210], "points_1": [NaN,110], "points_2": [30,110]}', ONE_POINT),
        ('{"bbox": [10,100,200,210]}', NO_POINT),
        ('{"bbox": [10,100,200,210], "points_1": null, "points_2": null}', NO_POINT),
    ],
)
def test_answers_in_the_models_published_forms_are_read(text: str, prompt: Prompt) -> None:
    answer = answered(text)
    assert answer.instances == (prompt,)
    assert answer.status == "found"
    assert answer.rationale == "cup"


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", "null", "None", " [ {} ] ", "```json\n[]\n```", '{"bbox": null, "points_1": null}',
     '{"bbox": [], "points_1": []}', '{"bbox": [0,0,0,0], "points_1": [0,0]}'],
)  # fmt: skip
def test_an_answer_without_a_target_is_no_target(text: str) -> None:
    assert answered(text).status == "no_target"


@pytest.mark.parametrize(
    "text",
    ["", "the cup", "There is no such object.", "[10,100,200,210]", '{"bbox": [10,100,200]}',
     '{"bbox": [NaN,100,200,210]}', '{"bbox": [1e999,100,200,210]}', '{"points_1": [30,110]}',
     '{"bbox": [' + "9" * 5000 + ",100,200,210]}", '{"bbox": [10,100,10,210]}',
     '{"bbox": [2000,100,3000,210]}'],
)  # fmt: skip
def test_no_valid_answer_is_unparsed(text: str) -> None:
    answer = answered(text)
    assert answer.status == "unparsed"
    assert answer.instances == ()
    assert answer.text == f"<think>cup</think><answer>{text}</answer>"


OBJECT = '{"bbox": [10,100,200,210], "points_1": [30,110], "points_2": [35,180]}'


@pytest.mark.parametrize(
    ("text", "rationale"),
    [
        (f"<think> a cup </think><answer>{OBJECT}", "a cup"),
        (f"<think> a cup <answer>{OBJECT}</answer>", "a cup"),
        (f"a cup</think><answer>{OBJECT}</answer>", "a cup"),
        (f"<answer>{OBJECT}</answer><d_think>because</d_think>", ""),
        (f"<think>a cup</think><answer>{OBJECT}<d_think>x {OBJECT}", "a cup"),
        (f"<think>a cup</think>{OBJECT}", "a cup"),
        (OBJECT, ""),
        (f"Sure. <think></think><answer>{OBJECT}</answer>", ""),
    ],
)
def test_missing_tags(text: str, rationale: str) -> None:
    answer = wise(text)
    assert (answer.status, answer.instances, answer.rationale) == ("found", (ONE,), rationale)


def test_text_cut_by_the_limit_is_truncated_and_keeps_whole_objects() -> None:
    strategy = STRATEGIES["vision-reasoner"]
    whole = '{"bbox_2d": [1,2,30,40], "point_2d": [5,6]}'
    text = f'<think>two</think><answer>[{whole}, {{"bbox_2d": [50,60,7'
    answer = read_answer(text, "length", strategy, SQUARE)
    assert answer.status == "truncated"
    assert answer.instances == (Prompt((1, 2, 30, 40), ((5, 6),)),)
    assert wise("<think>so far", "length").status == "truncated"
    assert wise(f"<answer>{OBJECT}</answer>", "length").status == "found"


def test_several_objects_come_one_by_one() -> None:
    reader = AnswerReader(STRATEGIES["vision-reasoner"], SQUARE)
    assert reader.feed("<think>both</think><answer>[").thinking == "both"
    assert reader.feed('{"bbox_2d": [1,2,30,40], "point_2d": [5,6]').instances == ()
    assert reader.feed("}, ").instances == (Prompt((1, 2, 30, 40), ((5, 6),)),)
    second = reader.feed('{"bbox_2d": [50,60,70,80], "point_2d": [55,66]}]</answer>').instances
    assert second == (Prompt((50, 60, 70, 80), ((55, 66),)),)
    answer, progress = reader.finish("stop")
    assert len(answer.instances) == 2
    assert progress.instances == ()


def test_coordinates_are_scaled_apart_and_rounded_as_each_reference_does() -> None:
    raw = RawInstance((1, 1, 3, 101), ((1, 3),))
    frame = Frame(420, 1260, 840)  # factors 0.5 and 1.5
    rounded = place(raw, STRATEGIES["seg-zero"], frame)
    assert rounded == Prompt((0, 2, 2, 152), ((0, 4),))  # round: halves to even
    half_up = place(raw, STRATEGIES["vision-reasoner"], frame)
    assert half_up == Prompt((1, 2, 2, 152), ((1, 5),))  # int(v + 0.5)


def test_box_is_clipped_and_points_come_inside_the_image() -> None:
    raw = RawInstance((-50, -1e300, 900, 1e300), ((-5, 2000), (840, 840)))
    placed = place(raw, STRATEGIES["wise"], Frame(640, 480, 840))
    assert placed == Prompt((0, 0, 640, 480), ((0, 479), (639, 479)))


PIECES = st.sampled_from(
    ["<think>", "</think>", "<answer>", "</answer>", "<d_think>", "<thi", "<", "{", "}", "[", "]",
     "(", ")", '"bbox"', "'bbox_2d'", '"points_1"', ":", ",", "10", "-3.5", "1e400", "NaN",
     "null", "9" * 400, "0", "```json", "\n", "é", "box of", '"point_2d": [5,6]',
     '{"bbox": [10,100,200,210]', "٣"]
)  # fmt: skip
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=40).map("".join))
FRAMES = st.builds(
    Frame, st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([28, 224, 840])
)
REASONS = st.sampled_from(["stop", "length"])


@settings(max_examples=300, deadline=None)
@given(TEXTS, REASONS, st.sampled_from(list(STRATEGIES.values())), FRAMES)
def test_no_text_raises_and_everything_lies_inside(
    text: str, reason: FinishReason, strategy: Strategy, frame: Frame
) -> None:
    answer = read_answer(text, reason, strategy, frame)
    assert answer.text == text
    assert (answer.status == "found") <= bool(answer.instances)
    for item in answer.instances:
        assert item.box is not None
        x1, y1, x2, y2 = item.box
        assert 0 <= x1 < x2 <= frame.width
        assert 0 <= y1 < y2 <= frame.height
        assert len(item.points) <= strategy.max_points
        assert all(0 <= x < frame.width and 0 <= y < frame.height for x, y in item.points)


@settings(max_examples=300, deadline=None)
@given(TEXTS, REASONS, st.lists(st.integers(0, 200), max_size=30))
def test_pieces_read_like_the_whole(text: str, reason: FinishReason, cuts: list[int]) -> None:
    strategy = STRATEGIES["vision-reasoner"]
    reader, seen, thinking = AnswerReader(strategy, SQUARE), list[Prompt](), ""
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    for start, end in pairwise(edges):
        progress = reader.feed(text[start:end])
        seen += progress.instances
        thinking += progress.thinking
    answer, progress = reader.finish(reason)
    whole = read_answer(text, reason, strategy, SQUARE)
    assert answer == whole
    given = (*seen, *progress.instances)
    assert set(given) >= set(whole.instances)
    if text.count("<answer>") < 2:  # else a later answer may replace an earlier one
        assert given == whole.instances
    assert not thinking or (thinking + progress.thinking).strip() == whole.rationale


@pytest.mark.slow
def test_time_is_linear_in_the_text() -> None:
    for junk in ("{" * 20_000, "[" * 20_000, '{"bbox": [' * 2_000, "9" * 20_000, "<" * 20_000):
        assert wise("<answer>" + junk).instances == ()
