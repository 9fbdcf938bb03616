"""`wise-segment eval` from the command to its reports, against a server of the contract."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import eval_data as data
from command_line import Run
from scripted import ScriptedServer
from steps import Change, Problem
from wise_serve.reasoner.strategies import STRATEGIES

HALF = data.rectangle((10, 5, 30, 15))  # IoU with the answer: 200 / 400


def test_the_table_is_printed(run: Run, tmp_path: Path) -> None:
    data.plain(tmp_path / "set", [None, HALF])
    code, out, err = run("eval", "set", "--no-progress")
    assert code == 0
    assert err == "wise-segment: wise-s: 2 samples of set (folder)\n"
    assert re.search(r"gIoU, %\s+│\s+75\.0 │", out)
    assert re.search(r"cIoU, %\s+│\s+75\.0 │", out)
    assert re.search(r"thinking tokens, mean\s+│\s+6\.0 │", out)
    assert re.search(r"completion tokens, p95\s+│\s+55\.0 │", out)
    assert re.search(r"latency, mean, ms\s+│\s+[1-9]\d* │", out)
    assert re.search(r"throughput, answers/s\s+│\s+\d+\.\d\d │", out)


def test_json_and_csv(run: Run, tmp_path: Path, server: ScriptedServer) -> None:
    data.plain(tmp_path / "set", [None, HALF])
    server.script += [None, Change(lambda d: d | {"status": "unparsed", "instances": []})]
    words = ("--concurrency", "1", "--strategy", "seg-zero", "--json", "r.json", "--csv", "r.csv")
    code, _, err = run("eval", "set", *words)
    assert code == 0
    assert "2/2" in err  # the progress bar
    assert [one.fields["strategy"] for one in server.received] == ["seg-zero"] * 2
    told = json.loads((tmp_path / "r.json").read_text())
    assert told["dataset"] == {"name": "set", "format": "folder", "samples": 2}
    (figures,) = told["strategies"]
    assert (figures["giou"], figures["ciou"]) == (0.5, 400 / 600)
    assert figures["unparsed_rate"] == 0.5
    assert figures["models"] == [{"reasoner": "fake-reasoner", "segmenter": "fake-segmenter"}]
    assert [one["name"] for one in figures["scores"]] == ["000", "001"]
    assert figures["scores"][1]["iou"] == 0
    assert figures["scores"][1]["union"] == 200
    (row,) = csv.DictReader((tmp_path / "r.csv").read_text().splitlines())
    assert (row["strategy"], row["giou"]) == ("seg-zero", "0.5")


def test_printed_json_is_only_json(run: Run, tmp_path: Path) -> None:
    data.plain(tmp_path / "set", [None])
    _, out, err = run("eval", "set", "--json", "-", "--no-progress")
    assert json.loads(out)["strategies"][0]["giou"] == 1.0
    assert "gIoU" in err


def test_strategies_side_by_side(run: Run, tmp_path: Path, server: ScriptedServer) -> None:
    def thinking(count: int) -> Change:
        return Change(lambda d: d | {"usage": d["usage"] | {"thinking_tokens": count}})

    data.plain(tmp_path / "set", [None, None])
    server.script += [thinking(count) for count in (100, 120, 20, 24)]
    words = ("--strategy", "seg-zero,wise-s", "--concurrency", "1", "--no-progress")
    code, out, _ = run("eval", "set", *words)
    assert code == 0
    assert re.search(r"seg-zero.*wise-s", out)
    assert re.search(r"thinking tokens, mean\s+│\s+110\.0 │\s+22\.0 \(x0\.20\) │", out)
    assert [one.fields["strategy"] for one in server.received] == ["seg-zero"] * 2 + ["wise-s"] * 2


def test_every_strategy_of_the_server_is_evaluated(
    run: Run, tmp_path: Path, server: ScriptedServer
) -> None:
    data.plain(tmp_path / "set", [None])
    code, out, _ = run("eval", "set", "--strategies-of-server", "--no-progress")
    assert code == 0
    assert re.search("wise-s.*vision", out)  # a narrow column breaks the name at its hyphen
    assert [one.fields["strategy"] for one in server.received] == list(STRATEGIES)


@pytest.mark.parametrize(
    ("limits", "code", "says"),
    [
        ("gIoU=0.75,tokens<30", 0, ""),
        ("gIoU>0.75", 8, "limit not met: wise-s: gIoU is 0.75, not > 0.75"),
        ("tokens<6", 8, "limit not met: wise-s: tokens is 6, not < 6"),
        ("gIoU", 2, "'gIoU' is not a limit"),
    ],
)
def test_the_exit_code_follows_the_limits(
    run: Run, tmp_path: Path, limits: str, code: int, says: str
) -> None:
    data.plain(tmp_path / "set", [None, HALF])
    got, _, err = run("eval", "set", "--fail-below", limits, "--no-progress")
    assert got == code
    assert says in err


def test_ignored_pixels_are_not_scored(run: Run, tmp_path: Path) -> None:
    """Half of the answer is ignored: what is left is exactly the target."""
    lower = [[10, 15], [29, 15], [29, 24], [10, 24]]
    upper = [[10, 5], [29, 5], [29, 14], [10, 14]]
    shapes = [data.shape("target", upper), data.shape("ignore", lower)]
    data.reasonseg(tmp_path / "ReasonSeg" / "val", "a", shapes)
    words = ("--split", "val", "--json", "r.json", "--no-progress")
    assert run("eval", "ReasonSeg", *words)[0] == 0
    (one,) = json.loads((tmp_path / "r.json").read_text())["strategies"][0]["scores"]
    assert (one["intersection"], one["union"], one["iou"]) == (200, 200, 1.0)


def test_failures_are_seven_not_scored_and_mended_by_a_second_run(
    run: Run, tmp_path: Path, server: ScriptedServer
) -> None:
    data.plain(tmp_path / "set", [None, None, np.ones((41, 60), bool)])
    server.script.append(Problem(422, "invalid_field"))
    words = ("eval", "set", "--concurrency", "1", "--output", "kept", "--json", "r.json")
    code, _, err = run(*words)
    assert code == 7
    assert "000: A detail (invalid_field" in err
    assert "its truth is 60 x 41, its image 60 x 40 pixels" in err
    assert "2 pairs failed and are not scored" in err
    (figures,) = json.loads((tmp_path / "r.json").read_text())["strategies"]
    assert (figures["answered"], figures["failed"], figures["giou"]) == (1, 2, 1.0)
    assert [one["code"] for one in figures["failures"]] == ["invalid_field", "invalid_input"]

    assert run(*words)[0] == 7  # the truth still does not fit
    assert len(server.received) == 4  # only the refused pair was sent again
    (figures,) = json.loads((tmp_path / "r.json").read_text())["strategies"]
    assert (figures["answered"], figures["failed"]) == (2, 1)
    assert (tmp_path / "kept" / "wise-s.jsonl").is_file()


def test_a_changed_dataset_is_not_mixed_with_old_answers(run: Run, tmp_path: Path) -> None:
    data.plain(tmp_path / "set", [None, None])
    assert run("eval", "set", "-o", "kept")[0] == 0
    (tmp_path / "set" / "000.txt").write_text("the spoon")
    code, _, err = run("eval", "set", "-o", "kept")
    assert code == 2
    assert "choose another output file" in err


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, server: ScriptedServer) -> None:
    count, concurrency = 40, 4
    data.plain(tmp_path / "set", [None] * count)
    server.delay_s = 0.03
    words = ["eval", "set", "-o", "kept", "--concurrency", "4", "--json", "r.json"]
    command = [sys.executable, "-m", "wise_client.cli.main", *words]
    environment = {**os.environ, "WISE_URL": server.url}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE) as child:
        until = time.monotonic() + 20
        while time.monotonic() < until and len(server.received) < count // 3:
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
    sent = len(server.received)
    assert 0 < sent < count
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(server.received) <= count + concurrency  # at most what was under way is sent twice
    (figures,) = json.loads((tmp_path / "r.json").read_text())["strategies"]
    assert (figures["answered"], figures["giou"]) == (count, 1.0)


def test_limit_and_concurrency_are_obeyed(run: Run, tmp_path: Path, server: ScriptedServer) -> None:
    data.plain(tmp_path / "set", [None] * 9)
    server.delay_s = 0.05
    assert run("eval", "set", "--limit", "7", "--concurrency", "3", "--no-progress")[0] == 0
    assert len(server.received) == 7
    assert 1 < server.most_busy <= 3


def test_a_server_that_is_gone_ends_the_run(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nowhere: str
) -> None:
    data.plain(tmp_path / "set", [None])
    monkeypatch.setenv("WISE_URL", nowhere)
    monkeypatch.setattr("wise_client.retry.RetryPolicy.wait_s", lambda *_: None)
    for words in ((), ("--strategy", "wise")):  # asked for its default strategy; for an answer
        code, _, err = run("eval", "set", *words)
        assert code == 6
        assert "is wise-serve running" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["none"], "no file or folder none"),
        (["set", "--strategy", "wise,../x"], "'../x' is not a valid strategy name"),
        (["set", "--strategy", "wise", "--strategies-of-server"], "not allowed with"),
        (["set", "--json", "no/r.json"], "no folder no"),
        (["set", "--html", "-"], "--html and --picture need the name of a file"),
        (["set", "--picture", "-"], "--html and --picture need the name of a file"),
        (["set", "--picture", "no/p.svg"], "no folder no"),
        (["set", "--json", "-", "--csv", "-"], "cannot both be printed"),
        (["set", "--output", "set/000.txt"], "000.txt is a file; --output names a folder"),
        (["set", "--format", "csv"], "invalid choice: 'csv'"),
        (["set", "--limit", "0"], "at least 1"),
        (["set", "--strategy", "wise,nope"], "offers no strategy 'nope'; it offers wise-s, wise, "),
    ],
)
def test_a_mistake_costs_no_request(
    run: Run, tmp_path: Path, server: ScriptedServer, words: list[str], says: str
) -> None:
    data.plain(tmp_path / "set", [None])
    code, _, err = run("eval", *words)
    assert code == 2
    assert says in err.splitlines()[-1]
    assert server.received == []


def test_the_command_comes_first(run: Run) -> None:
    code, _, err = run("--json", "eval", "set")
    assert code == 2
    assert "Put the command first: wise-segment eval" in err


def test_answers_of_other_models_in_the_output_are_reported(
    run: Run, tmp_path: Path, server: ScriptedServer
) -> None:
    data.plain(tmp_path / "set", [None, None])
    assert run("eval", "set", "-o", "kept", "--limit", "1")[0] == 0
    server.script.append(Change(lambda d: d | {"model": d["model"] | {"reasoner": "other"}}))
    code, _, err = run("eval", "set", "-o", "kept", "--json", "r.json")
    assert code == 0
    assert "answers of 2 pairs of models are mixed" in err
    (figures,) = json.loads((tmp_path / "r.json").read_text())["strategies"]
    assert [one["reasoner"] for one in figures["models"]] == ["fake-reasoner", "other"]
