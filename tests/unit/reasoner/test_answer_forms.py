"""Every form of an answer gives the intended objects or is refused; it never gives other objects.

ANSWER_EXAMPLES: texts drawn by each test (default 60, which takes seconds).
"""

import os
import unicodedata
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from answer_forms import answers, named_somehow, nothing
from spellings import SIDE, Meant, thoughts
from wise_serve.contract.prompts import Prompt
from wise_serve.reasoner.answer import Answer, AnswerReader, Frame, read_answer
from wise_serve.reasoner.strategies import STRATEGIES, Strategy
from wise_serve.reasoner.tokens import count_tokens

SQUARE = Frame(SIDE, SIDE, SIDE)  # coordinates pass unchanged
STRATEGY = STRATEGIES["wise-s"]
strategies = st.sampled_from(list(STRATEGIES.values()))
EXAMPLES = int(os.environ.get("ANSWER_EXAMPLES", "60"))
cuts = st.lists(st.integers(0, 400), max_size=12)


def expected(items: list[Meant], strategy: Strategy) -> tuple[Prompt, ...]:
    placed = [Prompt(item.box, item.points[: strategy.max_points]) for item in items]
    return tuple(dict.fromkeys(placed))


def read_in_pieces(text: str, at: list[int], strategy: Strategy) -> tuple[Answer, list[Prompt]]:
    reader, seen = AnswerReader(strategy, SQUARE), list[Prompt]()
    edges = sorted({0, len(text), *(cut for cut in at if cut < len(text))})
    for start, end in pairwise(edges):
        seen += reader.feed(text[start:end]).instances
    answer, progress = reader.finish("stop")
    return answer, [*seen, *progress.instances]


@settings(max_examples=EXAMPLES)
@given(answers(), thoughts, strategies, cuts)
def test_an_answer_is_read_as_it_is_meant(
    meant: tuple[str, list[Meant]], thought: str, strategy: Strategy, at: list[int]
) -> None:
    inside, items = meant
    text = f"<think>{thought}</think>\n<answer>{inside}</answer>"
    answer, seen = read_in_pieces(text, at, strategy)
    assert (answer.status, answer.instances) == ("found", expected(items, strategy))
    assert tuple(seen) == answer.instances
    assert answer == read_answer(text, "stop", strategy, SQUARE)
    assert answer.rationale == thought.strip()
    tokens = [bytes([byte]) for byte in text.encode()]
    counts = count_tokens(tokens, STRATEGIES["wise-s"])
    assert counts.thinking_tokens == len(thought.encode())
    assert counts.answer_tokens == len(inside.encode())


@settings(max_examples=EXAMPLES)
@given(answers(), thoughts)
def test_a_missing_end_of_the_thinking_changes_no_box(
    meant: tuple[str, list[Meant]], thought: str
) -> None:
    inside, items = meant
    answer = read_answer(f"<think>{thought}<answer>{inside}</answer>", "stop", STRATEGY, SQUARE)
    assert (answer.status, answer.instances) == ("found", expected(items, STRATEGY))
    assert answer.rationale == thought.strip()


@settings(max_examples=EXAMPLES)
@given(answers(), st.data())
def test_a_damaged_answer_is_read_as_it_was_meant_or_refused(
    meant: tuple[str, list[Meant]], data: st.DataObject
) -> None:
    inside, items = meant
    places = [at for at, letter in enumerate(inside) if unicodedata.category(letter)[0] == "P"]
    at = data.draw(st.sampled_from(places))
    damaged = inside[:at] + data.draw(st.sampled_from(["", inside[at] * 2])) + inside[at + 1 :]
    answer = read_answer(f"<answer>{damaged}</answer>", "stop", STRATEGY, SQUARE)
    assert answer.status in ("found", "unparsed")
    if answer.status == "found":
        assert {one.box for one in answer.instances} == {item.box for item in items}, damaged


@settings(max_examples=EXAMPLES)
@given(nothing(), thoughts, strategies)
def test_every_form_without_a_target_is_no_target(
    inside: str, thought: str, strategy: Strategy
) -> None:
    text = f"<think>{thought}</think><answer>{inside}</answer>"
    answer = read_answer(text, "stop", strategy, SQUARE)
    assert (answer.status, answer.instances) == ("no_target", ())


@settings(max_examples=2 * EXAMPLES)
@given(named_somehow())
def test_a_box_by_any_names_is_read_as_it_was_meant_or_refused(meant: tuple[str, Meant]) -> None:
    inside, item = meant
    answer = read_answer(f"<answer>{inside}</answer>", "stop", STRATEGY, SQUARE)
    assert answer.status in ("found", "unparsed")
    assert answer.status == "unparsed" or answer.instances == (Prompt(item.box, ()),)
