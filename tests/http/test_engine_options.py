"""What the engine's options change between the pipeline and the engine, and what they do not."""

from typing import Any

import httpx
import pytest

from fakes import FakeReasoner
from gateways import Server, Start
from wise_serve.reasoner.grammar import answer_pattern
from wise_serve.reasoner.strategies import STRATEGIES

TEXT = (
    "<think>deux tasses, à gauche</think>\n<answer>"
    '[{"bbox_2d": [0,0,420,420], "point_2d": [5,6]}, '
    '{"bbox_2d": [420,420,840,840], "point_2d": [500,600]}]</answer>'
)


def told(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200
    answer: dict[str, Any] = response.json()
    return {key: answer[key] for key in ("status", "instances", "reasoning", "usage")}


def thinking(response: httpx.Response) -> str:
    blocks = response.text.split("\n\n")
    parts = [block.split("\ndata: ")[1] for block in blocks if block.startswith("event: thinking")]
    return "".join(httpx.Response(200, text=part).json()["text"] for part in parts)


def token_counts(server: Server) -> dict[str, float]:
    text = server.runtime.metrics.registry.collect()
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text
        for sample in family.samples
        if "token" in sample.name and "seconds" not in sample.name and "_created" not in sample.name
    }


@pytest.mark.parametrize("step_tokens", [2, 5, 1000])
async def test_several_tokens_a_step_are_read_counted_and_streamed_as_one_by_one(
    start: Start, step_tokens: int
) -> None:
    asked = {"strategy": "vision-reasoner"}
    single = await start(reasoner=FakeReasoner(script=lambda _: TEXT))
    several = await start(reasoner=FakeReasoner(script=lambda _: TEXT, step_tokens=step_tokens))
    expected = told(await single.form(**asked))
    assert len(expected["instances"]) == 2
    assert expected["usage"]["completion_tokens"] > expected["usage"]["thinking_tokens"] > 4
    assert told(await several.form(**asked)) == expected
    assert token_counts(several) == token_counts(single)
    assert thinking(await several.form(**asked, stream="true")) == expected["reasoning"]


@pytest.mark.parametrize("name", STRATEGIES)
async def test_the_pattern_goes_with_the_strategy_where_it_is_asked_for(
    start: Start, name: str
) -> None:
    held = await start(structured_answers=True)
    await held.form(strategy=name)
    assert [one.pattern for one in held.reasoner.requests] == [answer_pattern(STRATEGIES[name])]
    free = await start()
    await free.form(strategy=name)
    assert [one.pattern for one in free.reasoner.requests] == [None]
