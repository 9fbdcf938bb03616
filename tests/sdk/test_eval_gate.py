"""The grammar of --fail-below, and which runs pass."""

from dataclasses import replace

import pytest

from wise_client.errors import InputError
from wise_client.eval.gate import FIGURES, Limit, broken, limits
from wise_client.eval.scores import summarise

SUMMARY = replace(
    summarise("wise-s", [], 0, 2.0), giou=0.6, ciou=0.5, thinking_tokens_mean=22.7, unparsed_rate=0
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gIoU=0.6", Limit("gIoU", ">=", 0.6)),
        ("giou >= 60%", Limit("gIoU", ">=", 0.6)),
        ("tokens=30", Limit("tokens", "<=", 30)),
        ("tokens<.5", Limit("tokens", "<", 0.5)),
        ("unparsed<=1%", Limit("unparsed", "<=", 0.01)),
        ("throughput>1.", Limit("throughput", ">", 1)),
    ],
)
def test_a_limit_is_read(text: str, expected: Limit) -> None:
    assert limits(text) == (expected,)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gIoU", "is not a limit"),
        ("gIoU=0.6,", "'' is not a limit"),
        ("gIoU=-1", "is not a limit"),
        ("gIoU==1", "is not a limit"),
        ("speed>1", "no figure speed; there are gIoU, cIoU, tokens"),
        ("gIoU=60", "gIoU is a fraction: 60% or 0.6"),
        ("tokens<30%", "tokens is not a fraction"),
    ],
)
def test_a_wrong_limit_is_refused(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        limits(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("gIoU=0.6,tokens<30", 0),
        ("gIoU>0.6", 1),
        ("gIoU>=0.6,cIoU>0.5,tokens<22.7", 2),
        ("tokens<=22.7,unparsed<1%", 0),
        ("truncated=0", 1),  # there is no such figure in this run
    ],
)
def test_broken_limits_are_reported(text: str, count: int) -> None:
    assert len(broken(limits(text), [SUMMARY])) == count


def test_every_strategy_must_keep_them() -> None:
    wordy = replace(SUMMARY, strategy="seg-zero", thinking_tokens_mean=111.9)
    assert broken(limits("tokens<30"), [SUMMARY, wordy]) == ["seg-zero: tokens is 111.9, not < 30"]


def test_every_figure_is_one_of_the_summary() -> None:
    for figure, _ in FIGURES.values():
        assert hasattr(SUMMARY, figure)
