"""An answer that the model has only thought of does not end the generation."""

from collections.abc import AsyncGenerator, Sequence

import pytest

from wise_serve.reasoner import FinishReason, ReasonDelta
from wise_serve.reasoner.answer import Frame, read_answer
from wise_serve.reasoner.strategies import STRATEGIES
from wise_serve.reasoner.thinking import until_answered

WRONG, RIGHT = '{"bbox": [1, 2, 3, 4]}', '{"bbox": [10, 20, 300, 400]}'
ANSWERED = f"<think>round</think><answer>{RIGHT}</answer>"
THOUGHT = f"<think>perhaps <answer>{WRONG}</answer>"


class Engine:
    """Generates the texts it is given, one a call, a token a letter, as vLLM would."""

    def __init__(self, texts: Sequence[tuple[str, FinishReason]]) -> None:
        self._texts = list(texts)
        self.prompts: list[tuple[int, ...]] = []
        self.closed = 0

    async def generate(self, written: tuple[int, ...]) -> AsyncGenerator[ReasonDelta, None]:
        self.prompts.append(written)
        text, finish = self._texts[len(self.prompts) - 1]
        prompt_tokens, ends = 7 + len(written), len(text) - 1
        try:
            for place, letter in enumerate(text):
                last = finish if place == ends else None
                yield ReasonDelta(letter, (ord(letter),), prompt_tokens, prompt_tokens - 1, last)
            if not text:
                yield ReasonDelta("", (0,), prompt_tokens, prompt_tokens - 1, finish)
        finally:
            self.closed += 1


async def answered(engine: Engine, max_tokens: int = 1000) -> list[ReasonDelta]:
    return [delta async for delta in until_answered(engine.generate, max_tokens)]


def text_of(deltas: Sequence[ReasonDelta]) -> str:
    return "".join(delta.text for delta in deltas)


async def test_an_answer_behind_the_thinking_is_one_generation() -> None:
    engine = Engine([(ANSWERED, "stop")])
    deltas = await answered(engine)
    assert (text_of(deltas), len(engine.prompts)) == (ANSWERED, 1)
    assert [delta.finish_reason for delta in deltas if delta.finish_reason] == ["stop"]


async def test_an_answer_inside_the_thinking_is_followed_by_the_real_one() -> None:
    rest = f" no</think><answer>{RIGHT}</answer>"
    engine = Engine([(THOUGHT, "stop"), (rest, "stop")])
    deltas = await answered(engine)
    assert engine.prompts == [(), tuple(map(ord, THOUGHT))]
    assert [delta.finish_reason for delta in deltas if delta.finish_reason] == ["stop"]
    assert {(delta.prompt_tokens, delta.cached_tokens) for delta in deltas} == {(7, 6)}
    answer = read_answer(text_of(deltas), "stop", STRATEGIES["wise-s"], Frame(840, 840, 840))
    assert [one.box for one in answer.instances] == [(10, 20, 300, 400)]
    assert answer.rationale == f"perhaps <answer>{WRONG}</answer> no"


@pytest.mark.parametrize("rest", ["", " that is all.", "<d_think>"])
async def test_a_model_that_forgets_to_close_its_thinking_is_not_asked_for_ever(rest: str) -> None:
    engine = Engine([(THOUGHT, "stop"), (rest, "stop")])
    deltas = await answered(engine)
    assert (text_of(deltas), len(engine.prompts)) == (THOUGHT + rest, 2)
    assert deltas[-1].finish_reason == "stop"


async def test_the_token_limit_holds_for_all_parts_together() -> None:
    engine = Engine([(THOUGHT, "stop")])
    deltas = await answered(engine, max_tokens=len(THOUGHT))
    assert (len(engine.prompts), deltas[-1].finish_reason) == (1, "stop")
    engine = Engine([(THOUGHT, "stop"), (" no", "length")])
    assert (await answered(engine))[-1].finish_reason == "length"


async def test_a_caller_who_leaves_closes_the_part_that_runs() -> None:
    engine = Engine([(ANSWERED, "stop")])
    deltas = until_answered(engine.generate, 1000)
    await anext(deltas)
    await deltas.aclose()
    assert engine.closed == 1
