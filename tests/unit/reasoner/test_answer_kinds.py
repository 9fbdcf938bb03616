"""Each kind of answer that was once parsed wrongly: another box, fewer boxes, or none."""

import pytest

from wise_serve.contract.prompts import Box, Prompt
from wise_serve.reasoner.answer import Answer, AnswerReader, Frame, read_answer
from wise_serve.reasoner.strategies import STRATEGIES
from wise_serve.reasoner.strategies.strategy import AnswerForm
from wise_serve.reasoner.tokens import count_tokens

SQUARE = Frame(840, 840, 840)  # coordinates pass unchanged
ONE, TWO = (10, 100, 200, 210), (225, 296, 706, 786)
BOX = '{"bbox": [10,100,200,210]}'
OTHER = '{"bbox": [225,296,706,786]}'


def read(text: str, frame: Frame = SQUARE) -> Answer:
    return read_answer(text, "stop", STRATEGIES["wise-s"], frame)


def answered(inside: str, frame: Frame = SQUARE) -> Answer:
    return read(f"<think>a</think><answer>{inside}</answer>", frame)


def boxes(answer: Answer) -> list[Box | None]:
    return [one.box for one in answer.instances]


@pytest.mark.parametrize(
    "names",
    [
        {"x1": 10, "y1": 100, "x2": 200, "y2": 210},
        {"y1": 100, "x1": 10, "y2": 210, "x2": 200},
        {"x0": 10, "y0": 100, "x1": 200, "y1": 210},
        {"xmin": 10, "xmax": 200, "ymin": 100, "ymax": 210},
        {"y_max": 210, "y_min": 100, "x_max": 200, "x_min": 10},
        {"top": 100, "left": 10, "bottom": 210, "right": 200},
        {"x": 10, "y": 100, "width": 190, "height": 110},
        {"h": 110, "w": 190, "y": 100, "x": 10},
        {"left": 10, "top": 100, "width": 190, "height": 110},
        {"cx": 105, "cy": 155, "w": 190, "h": 110},
        {"x_center": 105, "y_center": 155, "width": 190, "height": 110},
    ],
)
def test_names_of_coordinates_decide_and_not_their_order(names: dict[str, int]) -> None:
    flat = str(names)
    for text in (flat, f"{{'bbox': {flat}}}", f"[{{'bbox_2d': {flat}, 'label': 'x: 1'}}]"):
        assert (answered(text).status, boxes(answered(text))) == ("found", [ONE]), text


@pytest.mark.parametrize(
    "text",
    [
        '{"bbox": {"a": 10, "b": 100, "c": 200, "d": 210}}',
        '{"bbox": {"xywh": [10,100,190,110]}}',
        '{"bbox": {"max": [200,210], "min": [10,100]}}',
        '{"bbox": {"bottom_right": {"x": 200, "y": 210}, "top_left": {"x": 10, "y": 100}}}',
        '{"bbox": {"x1": 10, "y1": 100}}',
        '{"bbox": {"x1": 10, "y1": 100, "width": 190, "height": 110, "x2": 999}}',
        '{"bbox_xywh": [10,100,190,110]}',
        '{"bbox": [10,100,190,110], "format": "xywh"}',
        '{"target_box": [10,100,200,210]}',
        '{"bbox": [10,100,200,210], "reference_box": [1,2,30,40]}',
        '{"bbox": [[10,100],[200,100],[200,210],[10,210]]}',
        '{"bbox": [10,100,200,210,0.98]}',
        '{"bbox": [10,100,10+190,210]}',
        '{"bbox": ["1%","10%","20%","21%"]}',
        '{"bbox": [10,100,200,210], "points": [[30,110],[40,120]], "point_labels": [1,0]}',
        '{"bbox": [10,100,200,210], "confidence": 0}',
        '{"bbox": null, "points_1": [30,110]}',
        '{"bbox: [10,100,200,210], "label": "cup"}',
    ],
)
def test_a_form_that_is_not_understood_is_unparsed_without_a_box(text: str) -> None:
    assert (answered(text).status, boxes(answered(text))) == ("unparsed", [])


def test_points_are_read_by_their_names() -> None:
    answer = answered('{"bbox": [10,100,200,210], "points": [{"y": 110, "x": 30}, [35,180]]}')
    assert answer.instances == (Prompt(ONE, ((30, 110), (35, 180))),)


@pytest.mark.parametrize(
    "text",
    [
        '{"bbox": [[10,100,200,210],[225,296,706,786]], "point": [[30,110],[302,410]]}',
        '{"points": [[30,110],[302,410]], "boxes": [[10,100,200,210],[225,296,706,786]]}',
        '{"bbox": [10,100,200,210], "point": [30,110], "bbox": [225,296,706,786], '
        '"point": [302,410]}',
        '{"bbox_1": [10,100,200,210], "bbox_2": [225,296,706,786], "point_1": [30,110], '
        '"point_2": [302,410]}',
        '{"cup": {"bbox": [10,100,200,210], "point": [30,110]}, '
        '"jar": {"bbox": [225,296,706,786], "point": [302,410]}}',
    ],
)
def test_several_boxes_are_several_instances_each_with_its_own_point(text: str) -> None:
    answer = answered(text)
    assert answer.status == "found"
    assert answer.instances == (Prompt(ONE, ((30, 110),)), Prompt(TWO, ((302, 410),)))


@pytest.mark.parametrize(
    "text",
    [
        '{"bbox": [[10,100,200,210],[225,296,706,786]], "point": [30,110]}',
        '{"bbox": [10,100,200,210,225,296,706,786]}',
        '{"bbox": [10,100,200,210], "point": [30,110], "bbox": [225,296,706,786]}',
        '{"bbox": [10,100,200,210], "parts": [{"bbox": [20,110,50,120]}]}',
    ],
)
def test_boxes_that_may_be_confused_are_unparsed(text: str) -> None:
    assert answered(text).status == "unparsed"


@pytest.mark.parametrize(
    "extra",
    [
        '"label": "gift box: the red one"', '"label": "viewpoint: 3 of 4"', '"label": ":-}"',
        '"label": "bbox: [1,2,300,400]"', '"label": "a \\"red\\" box: [1,2,3,4]"',
        "'label': 'the cup's handle'", '"label": "a 12" pizza"', "“label”: “box: 5”",
        '"box_id": 7', '"box_count": 1', '"boxed": true', '"box_color": "red"',
        '"labels": ["bbox", "point: [1,2]"]', '"image_size": {"width": 840, "height": 840}',
    ],
)  # fmt: skip
def test_text_and_other_keys_are_no_boxes_and_no_structure(extra: str) -> None:
    for members in (f'{extra}, "bbox": [10,100,200,210]', f'"bbox": [10,100,200,210], {extra}'):
        answer = answered(f'[{{{members}, "point": [30,110]}}]')
        assert (answer.status, answer.instances) == ("found", (Prompt(ONE, ((30, 110),)),)), members


@pytest.mark.parametrize(
    "text",
    [
        '｛"bbox"：［10，100，200，210］｝', "｛“ｂｂｏｘ”：［１０，１００，２００，２１０］｝",
        '{"bbox": [١٠, ١٠٠, ٢٠٠, ٢١٠]}', '{"bbox": [۱۰، ۱۰۰، ۲۰۰، ۲۱۰]}',
        '{"bbox": [१०,१००,२००,२१०]}', '{"bbox": "１０，１００，２００，２１０"}',
        "「bbox」：【10、100、200、210】",
    ],
)  # fmt: skip
def test_punctuation_and_digits_of_other_scripts(text: str) -> None:
    assert (answered(text).status, boxes(answered(text))) == ("found", [ONE])


@pytest.mark.parametrize("text", ['{"bbox": [十,百,二百,二百一十]}', '{"bbox": [①,②,③,④]}'])
def test_numbers_that_are_no_digits_are_not_reported_as_no_target(text: str) -> None:
    assert (answered(text).status, boxes(answered(text))) == ("unparsed", [])


@pytest.mark.parametrize(
    "text",
    [
        '{"bbox": [], "label": "cup"}', '[{"bbox_2d": [], "point_2d": [], "label": "a cup"}]',
        '{"bbox": [null,null,null,null]}', '{"bbox": null, "points_1": null, "label": "cup"}',
        '{"bbox": [-1,-1,-1,-1], "points_1": [-1,-1]}', '{"bbox": "none"}', '{"count": 0}',
        '{"count": 0, "objects": []}', '{"confidence": 0.0, "bbox": []}', '{"found": false}',
        '{"bbox": {"x1": -1, "y1": -1, "x2": -1, "y2": -1}}', "[{}]", "[null]",
    ],
)  # fmt: skip
def test_other_forms_without_a_target_are_no_target(text: str) -> None:
    assert (answered(text).status, boxes(answered(text))) == ("no_target", [])


@pytest.mark.parametrize(
    ("text", "status", "found", "rationale"),
    [
        (f"<think>a {BOX} b</think><answer>{OTHER}</answer>", "found", [TWO], f"a {BOX} b"),
        (
            f"<think>a<answer>{BOX}</answer></think><answer>{OTHER}</answer>",
            "found",
            [TWO],
            f"a<answer>{BOX}</answer>",
        ),
        (
            f"<think>a<answer>{BOX}</answer> no <answer>{OTHER}</answer>",
            "found",
            [TWO],
            f"a<answer>{BOX}</answer> no",
        ),
        (f"<think>a<answer>{BOX}</answer></think>", "unparsed", [], f"a<answer>{BOX}</answer>"),
        (f"<think>{BOX}</think>", "unparsed", [], BOX),
        (f"<think>a</think><answer>{BOX}</answer><answer>{OTHER}</answer>", "found", [TWO], "a"),
        (f"<think>a</think><answer>{BOX}</answer><answer>[]</answer>", "no_target", [], "a"),
        (f"<think>a</think><answer>{BOX}</answer> or <answer>?</answer>", "found", [ONE], "a"),
        (
            f"<think>a</think><answer>{BOX}</answer><d_think><answer>{OTHER}</answer>",
            "found",
            [ONE],
            "a",
        ),
    ],
)
def test_the_last_answer_counts_and_thinking_is_whole(
    text: str, status: str, found: list[tuple[int, int, int, int]], rationale: str
) -> None:
    answer = read(text)
    assert (answer.status, boxes(answer), answer.rationale) == (status, found, rationale)
    counts = count_tokens([bytes([byte]) for byte in text.encode()], STRATEGIES["wise-s"])
    assert counts.thinking_tokens - len(rationale) in (0, 1)  # with the space at its end


@pytest.mark.parametrize(
    "text",
    ["[0.1,0.2,0.3,0.4]", "[0.0,0.0,1.0,1.0]", "[0,0,1,0.5]", '["0.1","0.2","0.3","0.4"]',
     "[-0.01,0.2,0.3,1.01]", '{"x": 0.5, "y": 0.5, "w": 0.6, "h": 0.6}'],
)  # fmt: skip
@pytest.mark.parametrize("side", [100, 840, 8000])
def test_coordinates_in_fractions_are_unparsed_at_every_size(text: str, side: int) -> None:
    answer = answered(f'{{"bbox": {text}}}', Frame(side, side, 840))
    assert (answer.status, boxes(answer)) == ("unparsed", [])


def test_a_comment_that_swallows_the_end_of_an_object_leaves_it_unparsed() -> None:
    damaged = '{"x": 2, "w": 1, "h": 2, "notes": ["no,"// no"], "y": 2}'
    assert answered(f"[{BOX}, {damaged}]").status == "unparsed"
    assert boxes(answered(f"[{BOX}] // the cup")) == [ONE]


def test_a_strategy_says_its_frame_and_the_names_of_its_keys() -> None:
    form = AnswerForm(boxes=("region",), points=("clicks",), labels=("box_name", "target"))
    strategy = STRATEGIES["wise-s"].model_copy(update={"answer": form})
    text = '{"target": "a: 1", "region_2": [0.1,0.5,0.25,0.75], "clicks": [[0.2,0.6]]}'
    for frame, box in ((Frame(640, 480, 1), (64, 240, 160, 360)), (Frame(640, 480, 840), None)):
        answer = read_answer(f"<answer>{text}</answer>", "stop", strategy, frame)
        assert boxes(answer) == ([box] if box else [])
        assert answer.status == ("found" if box else "unparsed")
    assert answered(text, Frame(640, 480, 1)).status == "unparsed"  # without these names


def test_x_and_y_may_run_over_different_ranges() -> None:
    answer = answered('{"bbox": [10,100,200,210]}', Frame(800, 600, 400, 300))
    assert boxes(answer) == [(20, 200, 400, 420)]


def test_copies_of_an_object_are_given_once_however_they_are_written() -> None:
    reader = AnswerReader(STRATEGIES["vision-reasoner"], SQUARE)
    reader.feed("<think>a</think><answer>[")
    same = [
        '{"bbox_2d": [10,100,200,210]}',
        '{"bbox": [10.2,100,200,210]}',
        '{"box":"10 100 200 210"}',
    ]
    given = [one for text in same * 8 for one in reader.feed(text + ",").instances]
    given += reader.feed(OTHER + "]</answer>").instances
    assert [one.box for one in given] == [ONE, TWO]
    assert reader.finish("stop")[0].instances == tuple(given)
