"""Serving changed nothing: the server against what the public evaluation code computes.

200 scenes, all four strategies, the same weights. The server is asked with 16 requests in flight,
in shuffled order, with its caches cold and then warm, so that a mix-up of batches or of caches
cannot hide.
"""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from miniature.queries import make_query
from miniature.scenes import draw_scene
from reference import Answered, Asked, Reference
from wise_client import Client, Segmentation

SCENES = 200
SEED = 8_500_000  # never used in training
STRATEGIES = ("wise-s", "wise", "seg-zero", "vision-reasoner")
FAMILIES = ("attribute", "extremum", "relation", "likeness")
IN_FLIGHT = 16
BFLOAT16_ERROR = 0.08  # of logits around 20: eight bits of mantissa


@pytest.fixture(scope="module")
def cases() -> list[Asked]:
    """The strategies and the families of query in turn; sizes mixed."""
    rng = np.random.default_rng(SEED)
    made: list[Asked] = []
    while len(made) < SCENES:
        scene = draw_scene(rng, max_side=512)
        query = make_query(scene, rng, FAMILIES[len(made) // 4 % len(FAMILIES)])
        if query is not None:
            made.append(Asked(scene.image, query.text, STRATEGIES[len(made) % 4]))
    return made


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference()


@pytest.fixture(scope="module")
def expected(reference: Reference, cases: list[Asked]) -> list[Answered]:
    """Batches of one strategy, so that little is padded; in the order of the cases."""
    found: dict[int, Answered] = {}
    for strategy in STRATEGIES:
        places = [i for i, case in enumerate(cases) if case.strategy == strategy]
        for start in range(0, len(places), 25):
            part = places[start : start + 25]
            found.update(zip(part, reference.answer([cases[i] for i in part]), strict=True))
    return [found[i] for i in range(len(cases))]


def serve(client: Client, cases: Sequence[Asked], seed: int) -> list[Segmentation]:
    """All cases, 16 in flight, in an order of their own."""
    order = list(range(len(cases)))
    random.Random(seed).shuffle(order)

    def ask(index: int) -> Segmentation:
        case = cases[index]
        strategy: Any = case.strategy
        return client.segment(case.image, case.query, strategy=strategy)

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        answers = dict(zip(order, pool.map(ask, order), strict=True))
    return [answers[i] for i in range(len(cases))]


@pytest.fixture(scope="module")
def cold(client: Client, cases: list[Asked]) -> list[Segmentation]:
    return serve(client, cases, 1)


@pytest.fixture(scope="module")
def warm(client: Client, cases: list[Asked], cold: list[Segmentation]) -> list[Segmentation]:
    return serve(client, cases, 2)


def rationale(text: str) -> str:
    return text.partition("<think>")[2].partition("</think>")[0].strip()


@pytest.mark.parametrize("caches", ["cold", "warm"])
def test_the_server_computes_what_the_reference_computes(
    caches: str,
    request: pytest.FixtureRequest,
    cases: list[Asked],
    expected: list[Answered],
    reference: Reference,
) -> None:
    answers: list[Segmentation] = request.getfixturevalue(caches)
    assert sum(one.readable for one in expected) >= 0.98 * SCENES
    different = []
    for case, answer, wanted in zip(cases, answers, expected, strict=True):
        if not wanted.readable:  # the server's parser is the more tolerant one
            assert answer.reasoning == rationale(wanted.text)
            continue
        width, height = case.image.size
        boxes = [list(np.clip(box, 0, (width, height) * 2)) for box in wanted.boxes]
        if answer.reasoning != rationale(wanted.text) or boxes != [
            list(one.box) for one in answer.instances
        ]:
            different.append((case, wanted.text))
            continue
        for one, points, mask in zip(answer.instances, wanted.points, wanted.masks, strict=True):
            inside = [list(np.clip(point, 0, (width - 1, height - 1))) for point in points]
            assert [list(point) for point in one.points] == inside
            union = np.logical_or(one.mask, mask).sum()
            assert np.logical_and(one.mask, mask).sum() >= 0.999 * union
    assert len(different) <= SCENES // 100, different
    for case, text in different:  # the reference itself was of two minds at some token
        assert min(reference.logit_gaps(case, text)) <= BFLOAT16_ERROR


def test_warm_caches_change_nothing(cold: list[Segmentation], warm: list[Segmentation]) -> None:
    assert sum(one.usage.cached_tokens >= 64 for one in warm) >= SCENES * 0.95
    same = [
        one.reasoning == other.reasoning
        and [i.box for i in one.instances] == [i.box for i in other.instances]
        and bool((one.mask == other.mask).all())
        for one, other in zip(cold, warm, strict=True)
    ]
    assert same.count(False) <= SCENES // 100
