"""The pattern of a well-formed answer: it accepts everything that the strategies write, and only
texts that are parsed correctly."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miniature.queries import FAMILIES, make_query
from miniature.rationales import response
from miniature.scenes import draw_scene
from wise_serve.miniature import REASONER_IMAGE_SIZE
from wise_serve.reasoner.answer import Frame, read_answer
from wise_serve.reasoner.grammar import TEXT, answer_pattern, text_without
from wise_serve.reasoner.scanner import AnswerScanner
from wise_serve.reasoner.strategies import STRATEGIES, Strategy
from wise_serve.reasoner.tokens import count_tokens

ALL = list(STRATEGIES.values())
FRAME = Frame(840, 840, 840)
BOX = '{"bbox": [1,2,30,40], "points_1": [5,6], "points_2": [7,8]}'


def takes(strategy: Strategy, text: str) -> bool:
    return re.fullmatch(pattern_of(strategy), text) is not None


def pattern_of(strategy: Strategy) -> str:
    pattern = answer_pattern(strategy)
    assert pattern is not None
    return pattern


def said(answer: str, rationale: str = "a cup") -> str:
    return f"<think>{rationale}</think><answer>{answer}</answer>"


@pytest.mark.parametrize("strategy", ALL, ids=lambda one: one.name)
def test_the_grammar_accepts_the_prompts_own_example(strategy: Strategy) -> None:
    assert takes(strategy, said(strategy.example))
    for quote in "\"'":
        assert takes(strategy, said(re.sub("[\"']", quote, strategy.example)))
    assert takes(strategy, said(strategy.example).replace("><", ">\n<").replace(",", ", "))


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_grammar_accepts_what_the_miniature_is_trained_to_write(name: str) -> None:
    rng = np.random.default_rng(9_100_000)
    families = [*FAMILIES, *(["plural"] if name == "vision-reasoner" else [])]
    written = 0
    while written < 60:
        scene = draw_scene(rng, max_side=128)
        query = make_query(scene, rng, families[written % len(families)])
        if query is None:
            continue
        text = response(name, scene, query, REASONER_IMAGE_SIZE).text
        assert takes(STRATEGIES[name], text), text
        written += 1


@pytest.mark.parametrize("strategy", ALL, ids=lambda one: one.name)
@pytest.mark.parametrize("nothing", ["{}", "[]", "null", " {}\n"])
def test_an_answer_without_a_target_stays_possible(strategy: Strategy, nothing: str) -> None:
    assert takes(strategy, said(nothing))
    assert read_answer(said(nothing), "stop", strategy, FRAME).status == "no_target"


@pytest.mark.parametrize(
    "rationale",
    ["", "a < b", "<", "<<", "</", "</think", "<answer", "<think>", "日\n本", "x" * 9999],
)
def test_a_rationale_is_any_text(rationale: str) -> None:
    text = said(BOX, rationale)
    assert takes(STRATEGIES["wise-s"], text)
    assert read_answer(text, "stop", STRATEGIES["wise-s"], FRAME).rationale == rationale.strip()


@pytest.mark.parametrize(
    "text",
    [
        "",
        BOX,
        f"<answer>{BOX}</answer>",
        said(BOX).removesuffix("</answer>"),
        said(BOX) + "<d_think>",
        "I think: " + said(BOX),
        said(BOX, "a <answer>{}</answer>"),
        said(BOX, "a </think> b"),
        said(BOX, "a </answer> b"),  # generation stops there
        said(BOX).replace("</think>", "</think> so "),
        said(f"[{BOX}]"),
        said(BOX + BOX),
        said(BOX.replace("40]", "40")),
        said(BOX.replace("40]", "40,50]")),
        said(BOX.replace("1,2", '"1",2')),
        said(BOX.replace("1,2", "nan,2")),
        said(BOX.replace("1,2", "1e999,2")),
        said(BOX.replace("1,2", "01,2")),
        said(BOX.replace("points_1", "points")),
        said(BOX.replace("bbox", "BBOX")),
        said('{"bbox": [1,2,30,40]}'),
        said("there is none"),
        said("```json\n" + BOX + "\n```"),
        said(BOX.replace(", ", "," + " " * 99)),
    ],
)
def test_the_grammar_refuses_other_forms(text: str) -> None:
    assert not takes(STRATEGIES["wise-s"], text)


def with_example(example: str) -> Strategy:
    turn = {"template": "Find {question}: {example}", "example": example}
    fields = STRATEGIES["wise-s"].model_dump() | {"name": "mine", "turn": turn}
    return Strategy.model_validate(fields)


@pytest.mark.parametrize(
    "example",
    [
        '[{"bbox_2d": [1,2,3,4], "label": "cup"}]',
        "{'bbox': [1,2,3,4], 'label': 'cup'}",
        '{"bbox": [1,2,3,4], "label": "the cup\'s handle"}',
        '{"bbox": [1,2,3,4], "visible": true, "names": ["a", "日本"]}',
        '{"bbox": [], "points": null}',
        '{"box (px)": [1,2,3,4], "a.b": 1}',
    ],
)
def test_every_type_of_value_matches_its_own_example(example: str) -> None:
    assert takes(with_example(example), said(example))


@pytest.mark.parametrize(
    "wrong",
    [
        '{"bbox": [1,2,3,4], "label": 7, "on": true, "a.b": null}',
        '{"bbox": [1,2,3,4], "label": "cup", "on": 1, "a.b": null}',
        '{"bbox": [1,2,3,4], "label": "cup", "on": true, "a.b": 0}',
        '{"bbox": [1,2,3,4], "label": "cup", "on": true, "a+b": null}',
        '{"bbox": ["1",2,3,4], "label": "cup", "on": true, "a.b": null}',
        '{"bbox": [1,2,3,4], "label": "a\nb", "on": true, "a.b": null}',
        '{"bbox": [1,2,3,4], "label": "a\\"b", "on": true, "a.b": null}',
        '{"bbox": [1,2,3,4], "label": "</answer>", "on": true, "a.b": null}',
        '{"bbox": [1,2,3,4], "label": "%s", "on": true, "a.b": null}' % ("x" * 101),
    ],
)
def test_values_of_another_type_and_endless_texts_do_not_match(wrong: str) -> None:
    right = '{"bbox": [1,2,3,4], "label": "cup", "on": true, "a.b": null}'
    strategy = with_example(right)
    assert takes(strategy, said(right.replace("true", "false").replace("cup", "")))
    assert not takes(strategy, said(wrong))


LABELLED = with_example('[{"label": "cup", "bbox": [1,2,3,4], "on": true}]')


@given(st.from_regex(TEXT, fullmatch=True))
def test_a_text_that_matches_does_not_hide_the_box(label: str) -> None:
    answer = f'[{{"label": {label}, "bbox": [1,2,3,4], "on": true}}]'
    assert takes(LABELLED, said(answer))
    scanner = AnswerScanner()
    found = [*scanner.feed(answer), *scanner.close()]
    assert [one.box for one in found] == [(1, 2, 3, 4)]
    assert not scanner.refused


TAGS = ("</think>", "<answer>", "</answer>")
PIECES = ["<", "</", "</think", "</a", "<answer", "answer>", "think>", *TAGS, ">", "/", "a", "t"]


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
def test_the_grammar_of_text_without_tags_is_any_such_text(text: str) -> None:
    wanted = not any(tag in text for tag in TAGS)
    assert bool(re.fullmatch(text_without(*TAGS), text)) == wanted


@given(st.sampled_from(ALL), st.data())
def test_whatever_the_grammar_accepts_is_read_as_meant(
    strategy: Strategy, data: st.DataObject
) -> None:
    text = data.draw(st.from_regex(pattern_of(strategy), fullmatch=True))
    head, _, tail = text.removesuffix("</answer>").partition("</think>")
    assert text.index("</answer>") + len("</answer>") == len(text)
    rationale, inner = head.removeprefix("<think>"), tail.partition("<answer>")[2]
    meant = json.loads(inner.replace("'", '"')) or []
    objects = meant if isinstance(meant, list) else [meant]
    scanner = AnswerScanner()
    found = [*scanner.feed(inner), *scanner.close()]
    boxes = [tuple(map(float, one[next(iter(one))])) for one in objects]
    assert [one.box for one in found] == [box for box in boxes if any(box)]
    answer = read_answer(text, "stop", strategy, FRAME)
    assert answer.rationale == rationale.strip()
    if all(not any(box) for box in boxes):
        assert answer.status == "no_target"
    assert answer.status != "truncated"
    counts = count_tokens(
        [bytes([byte]) for byte in text.encode("utf-8", "surrogatepass")], STRATEGIES["wise-s"]
    )
    assert counts.thinking_tokens == len(rationale.encode("utf-8", "surrogatepass"))
    assert counts.answer_tokens == len(inner.encode())
