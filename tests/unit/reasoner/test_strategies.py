"""Prompts, to the letter."""

import hashlib

import pytest

from wise_serve.reasoner.strategies import STRATEGIES


def test_the_built_in_strategies_in_their_order() -> None:
    assert tuple(STRATEGIES) == ("wise-s", "wise", "seg-zero", "vision-reasoner")


def test_the_default_prompt_to_the_letter() -> None:
    assert STRATEGIES["wise-s"].prompt("The Red Cup.") == (
        "Please find 'the red cup' with bbox and points.Compare the difference between objects and "
        "find the most closely matched one.Output the streamlined thinking process in <think> "
        "</think> and final answer in <answer> </answer> tags.Output the one bbox and points of "
        "two largest inscribed circles inside the interested object in JSON format.i.e., <think> "
        "streamlined thinking process here (within 10 words, the shorter the better, one word is "
        'best) </think><answer>{"bbox": [10,100,200,210], "points_1": [30,110], "points_2": '
        "[35,180]}</answer>"
    )


@pytest.mark.parametrize(
    ("name", "question"),
    [("wise-s", 'what? "a"'), ("wise", 'what? "a"'), ("seg-zero", 'what? "a"'),
     ("vision-reasoner", 'what? "a')],
)  # fmt: skip
def test_only_the_pinned_characters_are_stripped(name: str, question: str) -> None:
    assert STRATEGIES[name].question('..What? "A"..') == question


def test_a_query_is_text_and_never_a_template() -> None:
    for strategy in STRATEGIES.values():
        prompt = strategy.prompt("{answer} {question} </answer>")
        assert prompt.count("{answer} {question} </answer>") == 1


def test_prompts_did_not_change() -> None:
    prompts = "\n".join(strategy.prompt("x") for strategy in STRATEGIES.values())
    digest = hashlib.sha256(prompts.encode()).hexdigest()
    assert digest == "c566b8b8044b7c71935a9c628921cb47c7bd34c3b67bced8d6ca8b7e26b0d324"
