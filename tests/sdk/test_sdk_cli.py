"""`wise-segment` on one image: what it prints and writes, its exit codes, no tracebacks."""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from command_line import Run, feed
from scripted import ScriptedServer
from steps import Disconnect, Problem, Raw


def test_the_answer_is_printed_and_an_overlay_written(
    run: Run, photo: Path, tmp_path: Path
) -> None:
    code, out, err = run("photo.jpg", "the cup")
    assert (code, err) == (0, "")
    lines = [re.sub(r"\d+", "N", one) if "time:" in one else one for one in out.splitlines()]
    assert lines == [
        "photo.jpg, 60 x 40: 1 object",
        "  1. box (10, 5, 30, 25)  points (20, 15) (10, 5)",
        "     score 0.94, 400 pixels",
        "reasoning: bright, so this is it",
        "tokens: 6 thinking, 55 generated, 1043 prompt (900 cached)",
        "time: N ms (reason N, encode N, segment N)",
        "overlay: photo.overlay.png",
    ]
    with Image.open(tmp_path / "photo.overlay.png") as picture:
        assert picture.size == (60, 40)


def test_json_is_all_there_is_on_standard_output(run: Run, photo: Path, tmp_path: Path) -> None:
    code, out, err = run("photo.jpg", "q", "--json", "--mask", "m.png", "--coco", "c.json")
    assert code == 0
    assert json.loads(out)["instances"][0]["box"] == [10, 5, 30, 25]
    told = [f"wise-segment: {line}" for line in ("mask: m.png", "coco: c.json")]
    assert err.splitlines() == [*told, "wise-segment: overlay: photo.overlay.png"]
    with Image.open(tmp_path / "m.png") as mask:
        assert np.count_nonzero(np.asarray(mask) == 255) == 400
    assert json.loads((tmp_path / "c.json").read_text())["images"][0]["file_name"] == "photo.jpg"


def test_streaming_prints_the_thinking_first(run: Run, photo: Path) -> None:
    code, out, _ = run("photo.jpg", "q", "--stream", "--no-overlay")
    assert code == 0
    assert out.startswith("bright, so this is it\nphoto.jpg, 60 x 40: 1 object\n")
    code, out, err = run("photo.jpg", "q", "--stream", "--json", "--no-overlay")
    assert json.loads(out)["status"] == "found"
    assert err == "bright, so this is it\n"


def test_standard_input(
    run: Run, jpeg: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(monkeypatch, jpeg)
    code, out, _ = run("-", "q")
    assert code == 0
    assert "standard input, 60 x 40: 1 object" in out
    assert (tmp_path / "stdin.overlay.png").exists()
    feed(monkeypatch, b"")
    code, _, err = run("-", "q")
    assert (code, "is empty" in err) == (2, True)


def test_options_reach_the_server(run: Run, photo: Path, server: ScriptedServer) -> None:
    options = ["--strategy", "seg-zero", "--max-instances", "3", "--max-side-pixels", "30"]
    run("photo.jpg", "q", "--api-key", "k", "--no-overlay", *options)
    (received,) = server.received
    assert received.fields == {"query": "q", "strategy": "seg-zero", "max_instances": "3"}
    assert received.headers["authorization"] == "Bearer k"
    with Image.open(io.BytesIO(received.image)) as sent:
        assert sent.size == (30, 20)


def test_nothing_found_is_three_and_writes_no_overlay(
    run: Run, photo: Path, tmp_path: Path
) -> None:
    code, out, _ = run("photo.jpg", "nothing")
    assert code == 3
    assert "no_target" in out
    assert not (tmp_path / "photo.overlay.png").exists()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ([], 2, "required"),
        (["photo.jpg"], 2, "required: QUERY"),
        (["missing.jpg", "q"], 2, "no file missing.jpg"),
        (["text.txt", "q"], 2, "not an image"),
        ([".", "q"], 2, "is a folder; for its images"),
        (["photo.jpg", "q", "--mask", "no/m.png"], 2, "no folder no"),
        (["photo.jpg", "q", "--mask", "."], 2, "is a folder"),
        (["photo.jpg", "q", "--overlay", "o.txt"], 2, ".png"),
        (["photo.jpg", "q", "--url", "nonsense"], 2, "not an address"),
        (["photo.jpg", "q", "--url", "http://127.0.0.1:9", "--timeout-s", "0"], 2, "above 0"),
        (["photo.jpg", "q", "--max-side-pixels", "0"], 2, "at least 1"),
        (["--url", "http://x", "batch", "pairs.jsonl"], 2, "wise-segment batch"),
    ],
)
def test_a_users_mistake_is_one_line(
    run: Run,
    photo: Path,
    tmp_path: Path,
    server: ScriptedServer,
    words: list[str],
    code: int,
    says: str,
) -> None:
    (tmp_path / "text.txt").write_text("text")
    got, out, err = run(*words)
    assert (got, out) == (code, "")
    assert says in err.splitlines()[-1]
    assert server.received == []


@pytest.mark.parametrize(
    ("step", "code", "says"),
    [
        (Problem(401, "unauthorized"), 4, "WISE_API_KEY"),
        (Problem(413, "too_large"), 4, "--max-side-pixels"),
        (Problem(422, "invalid_field"), 4, "A detail"),
        (Problem(429, "overloaded", "99"), 5, "overloaded, HTTP 429, request srv-7"),
        (Problem(500, "internal_error"), 5, "internal_error"),
        (Raw(200, b"<html>"), 5, "is the address right?"),
        (Disconnect(), 6, "connection was lost"),
    ],
)
def test_a_servers_failure_is_one_line(
    run: Run, photo: Path, server: ScriptedServer, step: Any, code: int, says: str
) -> None:
    server.script.append(step)
    got, out, err = run("photo.jpg", "q")
    assert (got, out) == (code, "")
    assert says in err
    assert len(err.splitlines()) == 1


def test_a_server_that_is_down(
    run: Run, photo: Path, monkeypatch: pytest.MonkeyPatch, nowhere: str
) -> None:
    monkeypatch.setattr("wise_client.retry.RetryPolicy.wait_s", lambda *_: None)
    code, _, err = run("photo.jpg", "q", "--url", nowhere)
    assert code == 6
    assert f"is wise-serve running at {nowhere}?" in err


def test_an_unwritable_overlay_is_reported(run: Run, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.overlay.png").mkdir()
    code, _, err = run("photo.jpg", "q")
    assert (code, "is a folder" in err) == (2, True)


def test_interruption_is_130(run: Run, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("wise_client.cli.one.main", interrupted)
    assert run("photo.jpg", "q") == (130, "", "wise-segment: interrupted\n")


@pytest.mark.parametrize("words", [["--help"], ["batch", "--help"], ["refine", "--help"]])
def test_help_documents_every_exit_code(run: Run, words: list[str]) -> None:
    code, out, _ = run(*words)
    assert code == 0
    told = out[out.index("exit codes:") :]
    for number in ("0", "2", "3", "4", "5", "6", "7", "130"):
        assert f"\n  {number} " in told
    assert "WISE_URL" in told


def test_refine_has_no_options_of_a_question(run: Run) -> None:
    for option in ("--strategy", "--max-instances"):
        code, _, err = run("refine", "photo.jpg", "--box", "1,2,3,4", option, "1")
        assert code == 2
        assert f"unrecognized arguments: {option}" in err


def test_version(run: Run) -> None:
    assert run("--version") == (0, "wise-client 0.1.0\n", "")
