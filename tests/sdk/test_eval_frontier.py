"""Which strategy is best for its tokens, and the picture of it."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

import eval_data as data
from command_line import Run
from scripted import ScriptedServer
from steps import Change
from wise_client.eval import figures, frontier
from wise_client.eval.runner import StrategyRun
from wise_client.eval.scores import Scored

HALF = data.rectangle((10, 5, 30, 15))  # IoU with the answer: 200 / 400


def ran(name: str, ious: list[float], tokens: int, latency_ms: float = 100.0) -> StrategyRun:
    scored = [
        Scored(i, str(i), "it", "found", 0, 1, iou, 0, tokens, latency_ms, "")
        for i, iou in enumerate(ious)
    ]
    return StrategyRun(name, scored)


points = st.tuples(st.integers(0, 4), st.integers(1, 5))


@given(st.lists(points, min_size=1, max_size=8))
def test_the_front_is_those_that_nothing_beats(drawn: list[tuple[int, int]]) -> None:
    runs = [ran(str(i), [iou / 4], tokens) for i, (iou, tokens) in enumerate(drawn)]
    ahead = frontier.front(runs, frontier.TOKENS)
    assert ahead
    for i, (iou, tokens) in enumerate(drawn):
        beaten = any(o >= iou and t <= tokens and (o > iou or t < tokens) for o, t in drawn)
        assert (str(i) in ahead) != beaten


def test_a_strategy_may_be_on_one_of_the_two_fronts() -> None:
    runs = [ran("short", [0.5], 10, 300.0), ran("quick", [0.4], 20, 100.0)]
    assert frontier.front(runs, frontier.TOKENS) == {"short"}
    assert frontier.front(runs, frontier.LATENCY) == {"short", "quick"}


def test_fewer_tokens_win_where_the_samples_show_no_difference() -> None:
    noisy = [1.0, 0.0, 1.0, 0.0, 0.9, 0.1]
    runs = [ran("long", [0.0, 1.0, 1.0, 0.1, 0.9, 0.1], 100), ran("brief", noisy, 10)]
    found = frontier.verdict(runs)
    assert found
    assert (found.best, found.highest, found.samples) == ("brief", "long", 6)
    assert 0 < found.behind <= found.error
    assert "within one standard error" in found.sentence(runs)


def test_a_difference_on_every_sample_decides_against_the_tokens() -> None:
    runs = [ran("long", [0.8, 0.6, 0.9, 0.7], 100), ran("brief", [0.7, 0.49, 0.8, 0.6], 10)]
    found = frontier.verdict(runs)
    assert found
    assert (found.best, found.highest) == ("long", "long")
    assert "No other one" in found.sentence(runs)


def test_one_strategy_or_none_gives_no_verdict() -> None:
    assert frontier.verdict([ran("one", [1.0], 5), ran("failed", [], 5)]) is None


def test_strategies_without_common_samples_are_not_compared() -> None:
    other = ran("other", [0.9, 0.9], 5)
    other.scored = [Scored(9, "9", "it", "found", 0, 1, 0.9, 0, 5, 1.0, "")]
    found = frontier.verdict([ran("one", [1.0, 1.0], 50), other])
    assert found
    assert found.best == "one"


def test_the_picture_marks_the_front_under_any_name() -> None:
    names = [f"mine-{i}.v2" for i in range(9)]
    runs = [ran(name, [0.1 * i], 10 * i + 1, 90.0 - i) for i, name in enumerate(names)]
    root = ElementTree.fromstring(figures.choice(runs))
    marks = {one.get("id") for one in root.iter() if one.get("id")}
    for i, name in enumerate(names):
        assert f"{frontier.TOKENS} {name} front" in marks  # each more accurate, and dearer
        front = " front" if i == len(names) - 1 else ""  # each more accurate, and faster
        assert f"{frontier.LATENCY} {name}{front}" in marks


def test_a_run_without_answers_is_drawn_empty() -> None:
    assert "completion" in figures.choice([ran("a", [], 1), ran("b", [], 1)])


def test_all_that_the_server_offers_is_compared(
    run: Run, tmp_path: Path, server: ScriptedServer
) -> None:
    def tokens(count: int) -> Change:
        return Change(lambda d: d | {"usage": d["usage"] | {"completion_tokens": count}})

    data.plain(tmp_path / "set", [HALF, None])
    server.script += [tokens(count) for count in (40, 40, 30, 30, 20, 20, 90, 90)]
    words = ("--strategies-of-server", "--concurrency", "1", "--no-progress")
    files = ("--picture", "choice.svg", "--html", "r.html", "--json", "r.json")
    code, out, _ = run("eval", "set", *words, *files)
    assert code == 0
    found = json.loads((tmp_path / "r.json").read_text())["verdict"]
    assert found["best"] == "seg-zero"  # the third that the server offers
    assert found["fronts"][frontier.TOKENS] == ["seg-zero"]
    assert "Best for its tokens: seg-zero, gIoU 75.0 % for 20.0" in re.sub(r"\s+", " ", out)
    assert ElementTree.parse(tmp_path / "choice.svg").getroot().tag.endswith("svg")
    page = (tmp_path / "r.html").read_text("utf-8")
    assert "Best for its tokens: seg-zero" in page
    assert f'id="{frontier.TOKENS} seg-zero front"' in page


def test_a_warm_up_is_sent_first_and_not_counted(
    run: Run, tmp_path: Path, server: ScriptedServer
) -> None:
    data.plain(tmp_path / "set", [None, None])
    words = ("--strategy", "wise,wise-s", "--warm-up", "--output", "answers", "--json", "r.json")
    assert run("eval", "set", *words, "--concurrency", "1")[0] == 0
    asked = [one.fields["strategy"] for one in server.received]
    assert asked == ["wise"] * 4 + ["wise-s"] * 2
    figures = json.loads((tmp_path / "r.json").read_text())["strategies"]
    assert [one["answered"] for one in figures] == [2, 2]


@pytest.mark.parametrize("names", [["../outside"], []])
def test_unknown_names_of_strategies_are_refused(
    run: Run,
    tmp_path: Path,
    server: ScriptedServer,
    names: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wise_client.client.Client.info", lambda self: {"strategies": names})
    data.plain(tmp_path / "set", [None])
    code, _, err = run("eval", "set", "--strategies-of-server", "--output", "answers")
    assert code == 2
    assert "offers" in err
    assert server.received == []
