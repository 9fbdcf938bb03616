"""WISE's rewards at their edges."""

import json
from dataclasses import replace

import pytest

from wise.rewards import (
    TEMPLATES,
    Answer,
    Rewards,
    Truth,
    box_iou,
    box_l1_reward,
    distillation_reward,
    no_repetition_reward,
    point_l1_reward,
    read_answer,
    score,
)

SIZE = 840
TRUTH = Truth([100, 100, 199, 299], ([150, 150], [150, 250]), SIZE)
ANSWER = {"bbox": [100, 100, 199, 299], "points_1": [150, 150], "points_2": [150, 250]}


def words(text: str) -> int:
    return len(text.split())


def alike(_: str, __: str) -> float:
    return 0.8


def response(
    first: str = "red", second: str = "it is red so it fits", answer: object = ANSWER
) -> str:
    written = answer if isinstance(answer, str) else json.dumps(answer)
    return f"<think>{first}</think> <answer>{written}</answer>\n<d_think>{second}</d_think>"


def test_a_right_response_earns_everything() -> None:
    rewards = score(response(), TRUTH, alike, words)
    assert rewards == replace(Rewards(1, 1, 1, 1, 1, 1), distillation=rewards.distillation)
    assert rewards.total == pytest.approx(6 + 0.8 * 5 / 6)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_parrot_of_the_template_earns_nothing(template: str) -> None:
    assert score(response(first=f" {template} "), TRUTH, alike, words) == Rewards()
    assert score(response(second=f" {template} "), TRUTH, alike, words) == Rewards()


@pytest.mark.parametrize(
    "text",
    [
        response().replace("</d_think>", ""),  # the length ended it
        response().replace("<think>", ""),
        response() + " and more",
        "<answer>{}</answer>" + response(),
        response().partition("<d_think>")[0],
        "",
    ],
)
def test_a_wrong_form_earns_no_form_and_no_distillation(text: str) -> None:
    rewards = score(text, TRUTH, alike, words)
    assert rewards.thinking_format == rewards.distillation == rewards.no_repetition == 0


@pytest.mark.parametrize(
    "answer",
    [
        "{}", "[]", "7", "not json", "{'bbox': [1, 2, 3, 4]}",
        {"bbox": [1, 2, 3], "points_1": [1, 2], "points_2": [1, 2]},
        {"bbox": [1, 2, 3, 4], "points_1": [1], "points_2": [1, 2]},
        {"bbox": [1, 2, 3, 4], "points_1": [1, 2]},
        {"bbox": [1, 2, 3, "4"], "points_1": [1, 2], "points_2": [1, 2]},
        {"bbox": [1, 2, 3, True], "points_1": [1, 2], "points_2": [1, 2]},
        '{"bbox": [1, 2, 3, NaN], "points_1": [1, 2], "points_2": [1, 2]}',
    ],
)  # fmt: skip
def test_an_answer_of_another_form_is_none(answer: object) -> None:
    text = response(answer=answer)
    assert read_answer(text) is None
    assert score(text, TRUTH, alike, words) == Rewards(thinking_format=1, no_repetition=1)


def test_boxes_are_of_whole_pixels() -> None:
    assert box_iou([0, 0, 9, 9], [0, 0, 9, 9]) == 1
    assert box_iou([0, 0, 9, 9], [0, 0, 9, 4]) == pytest.approx(0.5)
    assert box_iou([0, 0, 9, 9], [10, 0, 19, 9]) == 0
    assert box_iou([9, 9, 0, 0], [0, 0, 9, 9]) == 0  # corners the wrong way round


def test_the_box_may_be_off_by_less_than_ten_pixels_of_840() -> None:
    def off(pixels: float, size: int) -> float:
        truth = Truth([100, 100, 200, 200], ([150, 150], [150, 150]), size)
        moved = Answer([v + pixels for v in truth.box], truth.points)
        return box_l1_reward(moved, truth)

    assert (off(9.99, 840), off(10, 840)) == (1, 0)
    assert (off(2.66, 224), off(2.67, 224)) == (1, 0)


def test_points_lie_in_the_box_and_near_in_either_order() -> None:
    one, two = TRUTH.points
    box = [0, 0, 839, 839]
    assert point_l1_reward(Answer(box, (two, one)), TRUTH) == 1
    assert point_l1_reward(Answer([100, 100, 149, 299], (one, two)), TRUTH) == 0  # outside its box
    assert point_l1_reward(Answer(box, ([250, 150], [250, 250])), TRUTH) == 0  # 100 away
    assert point_l1_reward(Answer(box, ([249, 150], [249, 250])), TRUTH) == 1


def test_the_same_sentence_twice_is_a_repetition() -> None:
    assert no_repetition_reward(["It is red. so it fits.", "it is red."]) == 1
    assert no_repetition_reward(["it is red. It is red."]) == 0
    assert no_repetition_reward([""]) == 1


@pytest.mark.parametrize(
    ("concise", "detailed", "expected"),
    [
        ("a", "a b c d", 0.8 * 0.75),
        ("a b c d", "a b c d", 0.0),  # a copy of the detailed rationale
        ("a b c d e", "a b c d", 0.0),  # longer than it
        ("", "a b c d", 0.0),
        ("  ", "a b c d", 0.0),
        ("a", "", 0.0),
    ],
)
def test_distillation(concise: str, detailed: str, expected: float) -> None:
    assert distillation_reward(concise, detailed, alike, words) == pytest.approx(expected)


def test_a_wrong_answer_earns_no_distillation() -> None:
    half = {"bbox": [100, 100, 199, 199], "points_1": [150, 150], "points_2": [150, 160]}
    rewards = score(response(answer=half), TRUTH, alike, words)
    assert rewards.iou == 0.5  # correct is above a half
    assert rewards.distillation == 0
    more = half | {"bbox": [100, 100, 199, 200]}
    assert score(response(answer=more), TRUTH, alike, words).distillation > 0


def test_without_similarity_there_is_no_distillation() -> None:
    assert score(response(), TRUTH, None, words).distillation == 0


def test_detailed_first_swaps_the_roles() -> None:
    text = response(first="it is red so it fits", second="red")
    assert score(text, TRUTH, alike, words).distillation == 0
    assert score(text, TRUTH, alike, words, detailed_first=True).distillation > 0
