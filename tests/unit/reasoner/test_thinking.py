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

    @staticmethod
    def texts(token_ids: Sequence[int]) -> list[bytes]:
        return [chr(one).encode() if one else b"" for one in token_ids]

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
    return [delta async for delta in until_answered(engine.generate, max_tokens, engine.texts)]


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
    deltas = until_answered(engine.generate, 1000, engine.texts)
    await anext(deltas)
    await deltas.aclose()
    assert engine.closed == 1


async def test_a_token_with_the_end_of_the_answer_and_more_keeps_its_text() -> None:
    """Qwen's vocabulary has a token `></`, and vLLM cuts the text after `</answer>`, inside it."""
    tokens = {1: "<think>perhaps ", 2: f"<answer>{WRONG}</answer", 3: "></", 4: "think>", 5: " "}
    tokens |= {6: f"<answer>{RIGHT}</answer>"}
    calls = [[(1, tokens[1]), (2, tokens[2]), (3, ">")], [(4, tokens[4]), (5, " "), (6, tokens[6])]]

    async def generate(written: tuple[int, ...]) -> AsyncGenerator[ReasonDelta, None]:
        steps = calls[bool(written)]
        for place, (token, text) in enumerate(steps, start=1):
            yield ReasonDelta(text, (token,), 1, 1, "stop" if place == len(steps) else None)

    def texts(token_ids: Sequence[int]) -> list[bytes]:
        return [tokens[one].encode() for one in token_ids]

    deltas = [delta async for delta in until_answered(generate, 1000, texts)]
    assert text_of(deltas) == "".join(tokens.values())
    assert (
        read_answer(text_of(deltas), "stop", STRATEGIES["wise-s"], Frame(840, 840, 840)).status
        == "found"
    )
