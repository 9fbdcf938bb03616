"""Options of the engine change its speed and what it could write, never a right answer."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL.Image import Image

from miniature.queries import make_query
from miniature.scenes import draw_scene
from running import RunningServer
from wise_client import Client, Done, Segmentation, ThinkingDelta

SEED = 8_700_000  # never used in training
STRATEGIES: tuple[Any, ...] = ("wise-s", "wise", "seg-zero", "vision-reasoner")
FAMILIES = ("attribute", "absent", "relation", "likeness")
CASES = 32
IN_FLIGHT = 8


@pytest.fixture(scope="module")
def optioned(optioned_server: RunningServer) -> Iterator[Client]:
    with Client(optioned_server.url) as client:
        yield client


def cases() -> list[tuple[Image, str, Any]]:
    rng = np.random.default_rng(SEED)
    made: list[tuple[Image, str, Any]] = []
    while len(made) < CASES:
        scene = draw_scene(rng, max_side=384)
        query = make_query(scene, rng, FAMILIES[len(made) // 4 % 4])
        if query is not None:
            made.append((scene.image, query.text, STRATEGIES[len(made) % 4]))
    return made


def answers(client: Client) -> list[Segmentation]:
    def ask(case: tuple[Image, str, Any]) -> Segmentation:
        image, query, strategy = case
        return client.segment(image, query, strategy=strategy)

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        return list(pool.map(ask, cases()))


def test_the_engines_levers_change_no_answer_and_no_count(client: Client, optioned: Client) -> None:
    plain, other = answers(client), answers(optioned)
    assert {one.status for one in plain} == {"found", "no_target"}
    different = [
        (one, two)
        for one, two in zip(plain, other, strict=True)
        if (one.status, one.reasoning) != (two.status, two.reasoning)
        or [i.box for i in one.instances] != [i.box for i in two.instances]
        or one.usage.completion_tokens != two.usage.completion_tokens
        or one.usage.thinking_tokens != two.usage.thinking_tokens
    ]
    assert not different


def test_a_stream_is_the_whole_in_pieces(optioned: Client) -> None:
    for image, query, strategy in cases()[:4]:
        events = list(optioned.stream(image, query, strategy=strategy))
        text = "".join(event.text for event in events if isinstance(event, ThinkingDelta))
        assert isinstance(events[-1], Done)
        assert text == events[-1].result.reasoning
        assert text


# Words in no order, after which the miniature loses its form.
CONFUSING = (
    "no write json point_2d none ? ' poem ! ' json largest ?",
    "yes 999 none ? yes bbox_2d red ] empty zebra write yes",
    "] empty ' poem write shapes : { empty empty bbox_2d bbox_2d shapes",
    "write point_2d } , tuesday [ no red ' yes no point_2d red : :",
    "} ] bbox_2d tuesday ? no 999 { write circle tuesday ] , red poem",
    "bbox_2d ' circle tuesday bbox_2d 999 , , json {",
    "[ [ no ' yes tuesday bbox_2d 999 zebra { 999 tuesday write shapes",
    "largest poem think empty empty shapes [ { no box shapes red [ 999 : ?",
)


def test_structured_answers_are_always_well_formed(client: Client, optioned: Client) -> None:
    asked = [(case[0], query) for case in cases()[:2] for query in CONFUSING]

    def unparsed(of: Client) -> int:
        answers = [of.segment(*one, strategy="vision-reasoner") for one in asked]
        return sum(answer.status == "unparsed" for answer in answers)

    assert unparsed(client) >= 1
    assert unparsed(optioned) == 0
