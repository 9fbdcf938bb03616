"""gIoU, cIoU and the other figures, against an independent computation."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wise_client import Segmentation
from wise_client.eval.samples import Truth
from wise_client.eval.scores import Scored, score, summarise
from wise_client.masks import encode

HEIGHT, WIDTH = 5, 7
# One integer a mask: hypothesis draws it far faster than an array.
masks_of_bits = st.integers(0, 2 ** (HEIGHT * WIDTH) - 1).map(
    lambda bits: np.array([bool(bits >> i & 1) for i in range(HEIGHT * WIDTH)]).reshape(
        HEIGHT, WIDTH
    )
)


def answered(status: str, masks: list[np.ndarray], thinking: int = 6) -> Segmentation:
    instances = [
        {
            "box": [0, 0, 1, 1],
            "points": [[0, 0]],
            "score": 1.0,
            "area": int(mask.sum()),
            "mask": encode(mask),
        }
        for mask in masks
    ]
    payload: dict[str, Any] = {
        "id": "seg-1",
        "status": status,
        "image": {"width": WIDTH, "height": HEIGHT},
        "instances": instances,
        "usage": {"thinking_tokens": thinking, "completion_tokens": thinking + 50},
        "timing_ms": {"total": 100.0 + thinking},
    }
    return Segmentation.from_dict(payload, query="q")


def by_sets(mask: np.ndarray) -> set[tuple[int, int]]:
    return {(y, x) for y in range(HEIGHT) for x in range(WIDTH) if mask[y, x]}


samples = st.tuples(
    st.sampled_from(["found", "found", "found", "no_target", "unparsed", "truncated"]),
    st.lists(masks_of_bits, max_size=3),
    masks_of_bits,
    st.none() | masks_of_bits,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(samples, min_size=1, max_size=8))
def test_giou_and_ciou_equal_an_independent_computation(cases: list[Any]) -> None:
    scored, ious, intersections, unions = [], [], 0, 0
    for index, (status, masks, target, ignore) in enumerate(cases):
        masks = masks if status == "found" else []
        ignored = by_sets(ignore) if ignore is not None else set()
        meant = by_sets(target) - ignored
        truth = Truth(target & ~ignore if ignore is not None else target, ignore)
        scored.append(score(index, "n", answered(status, masks), truth))
        found = set().union(*(by_sets(mask) for mask in masks)) - ignored
        if status in ("unparsed", "truncated"):
            both, either, iou = 0, len(meant), Fraction(0)
        else:
            both, either = len(found & meant), len(found | meant)
            iou = Fraction(both, either) if either else Fraction(1)
        ious.append(iou)
        intersections += both
        unions += either
    summary = summarise("wise-s", scored, 0, None)
    assert summary.giou == pytest.approx(float(sum(ious) / len(ious)), abs=1e-9)
    if unions:
        assert summary.ciou == pytest.approx(float(Fraction(intersections, unions)), abs=1e-9)
    else:
        assert summary.ciou is None


@pytest.mark.parametrize(
    ("status", "masks", "expected"),
    [
        ("no_target", [], 1.0),
        ("found", [np.zeros((HEIGHT, WIDTH), bool)], 1.0),
        ("found", [np.ones((HEIGHT, WIDTH), bool)], 0.0),
        ("unparsed", [], 0.0),
        ("truncated", [], 0.0),
    ],
)
def test_an_empty_truth(status: str, masks: list[np.ndarray], expected: float) -> None:
    empty = Truth(np.zeros((HEIGHT, WIDTH), bool))
    assert score(0, "n", answered(status, masks), empty).iou == expected


def test_an_unparsed_answer_costs_the_area_of_the_truth() -> None:
    target = np.zeros((HEIGHT, WIDTH), bool)
    target[1:3, 2:5] = True
    lost = score(0, "n", answered("unparsed", []), Truth(target))
    assert (lost.intersection, lost.union, lost.iou) == (0, 6, 0.0)


def test_tokens_rates_and_latency() -> None:
    whole = np.ones((HEIGHT, WIDTH), bool)
    counts = [1, 2, 3, 4, 100]
    statuses = ["found", "found", "no_target", "unparsed", "truncated"]
    scored: list[Scored] = [
        score(i, "n", answered(status, [whole] if status == "found" else [], count), Truth(whole))
        for i, (status, count) in enumerate(zip(statuses, counts, strict=True))
    ]
    figures = summarise("wise", scored, 2, 3.5)
    assert (figures.answered, figures.failed, figures.throughput_per_s) == (5, 2, 3.5)
    assert (figures.thinking_tokens_mean, figures.thinking_tokens_median) == (22.0, 3.0)
    assert figures.thinking_tokens_p95 == pytest.approx(4 + 0.8 * 96)
    assert figures.completion_tokens_mean == 72.0
    assert figures.latency_median_ms == 103.0
    assert (figures.unparsed_rate, figures.truncated_rate, figures.no_target_rate) == (0.2,) * 3
    assert figures.giou == 0.4
    assert math.isclose(figures.ciou or 0, 0.4)


def test_a_run_without_answers_has_no_figures() -> None:
    figures = summarise("wise", [], 3, None)
    assert (figures.failed, figures.giou, figures.ciou, figures.latency_p95_ms) == (3, *[None] * 3)
