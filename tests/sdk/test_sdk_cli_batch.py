"""`wise-segment batch`: its inputs, its output, being killed, servers that go away."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import bulk_data
from command_line import Run, feed
from scripted import ScriptedServer
from steps import Disconnect, Problem


def write_pairs(path: Path, pairs: list[Any]) -> None:
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), "utf-8")


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_pairs_from_a_file(run: Run, photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    photo.rename(folder / "photo.jpg")
    pairs = [{"image": "photo.jpg", "query": name} for name in ("a", "nothing", "größer")]
    write_pairs(folder / "pairs.jsonl", pairs)
    code, out, err = run("batch", "data/pairs.jsonl", "-o", "out.jsonl", "--coco", "c.json")
    assert (code, out) == (0, "")
    assert "3/3" in err
    assert "44.0 tokens/request" in err
    assert "3 of 3 pairs answered: out.jsonl" in err
    assert [one["query"] for one in records(tmp_path / "out.jsonl")] == ["a", "nothing", "größer"]
    coco = json.loads((tmp_path / "c.json").read_text())
    assert [one["file_name"] for one in coco["images"]] == ["photo.jpg"]
    assert len(coco["annotations"]) == 2


def test_a_folder_and_one_query(run: Run, photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("b.PNG", "a.jpg"):
        Image.open(photo).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    code, _, err = run("batch", "photos", "--query", "q", "-o", "o.jsonl", "--no-progress")
    assert code == 0
    assert err == "wise-segment: 2 of 2 pairs answered: o.jsonl\n"
    images = [one["image"] for one in records(tmp_path / "o.jsonl")]
    assert images == ["photos/a.jpg", "photos/b.PNG"]


def test_images_of_the_same_name_in_two_folders_are_two_images_in_coco(
    run: Run, tmp_path: Path
) -> None:
    for number, name in enumerate(("a", "b")):
        (bulk_data.folder(tmp_path / name, 0) / "0.png").write_bytes(bulk_data.png(number))
    words = ("--query", "p", "--query", "q", "-o", "o.jsonl", "--coco", "c.json", "--no-progress")
    assert run("batch", "a", "b", *words)[0] == 0
    coco = json.loads((tmp_path / "c.json").read_text())
    widths = {one["file_name"]: one["width"] for one in coco["images"]}
    assert widths == {"0.png": 24, "b/0.png": 25}
    assert [one["image_id"] for one in coco["annotations"]] == [1, 1, 2, 2]


def test_pairs_from_standard_input(
    run: Run, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(monkeypatch, b'{"image": "photo.jpg"}\n\n{"image": "photo.jpg", "query": "b"}\n')
    assert run("batch", "-", "--query", "default", "-o", "o.jsonl")[0] == 0
    assert [one["query"] for one in records(tmp_path / "o.jsonl")] == ["default", "b"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["pairs.jsonl"], "required: -o"),
        (["missing.jsonl", "-o", "o.jsonl"], "no file or folder missing.jsonl"),
        (["pairs.jsonl", "-o", "no/o.jsonl"], "no folder no"),
        ([".", "-o", "o.jsonl"], "give --query"),
        (["empty", "--query", "q", "-o", "o.jsonl"], "no image in empty"),
        (["empty.jsonl", "-o", "o.jsonl"], "no pair in empty.jsonl"),
        (["bad.jsonl", "-o", "o.jsonl"], "bad.jsonl line 2 is not JSON"),
        (["list.jsonl", "-o", "o.jsonl"], 'line 1 should be {"image"'),
        (["binary.jsonl", "-o", "o.jsonl"], "binary.jsonl line 1 is not JSON"),
        (["pairs.jsonl", "-o", "pairs.jsonl"], "is not of a batch"),
        (["pairs.jsonl", "-o", "o.jsonl", "--concurrency", "0"], "at least 1"),
        (["pairs.jsonl", "-o", "o.jsonl", "--strategy", "nope"], "offers no strategy 'nope'"),
    ],
)
def test_a_mistake_costs_no_request(
    run: Run, photo: Path, tmp_path: Path, server: ScriptedServer, words: list[str], says: str
) -> None:
    write_pairs(tmp_path / "pairs.jsonl", [{"image": "photo.jpg", "query": "a"}])
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "bad.jsonl").write_text('{"image": "photo.jpg", "query": "a"}\n{"image"\n')
    (tmp_path / "list.jsonl").write_text('["photo.jpg", "a"]\n')
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\n")
    code, _, err = run("batch", *words)
    assert code == 2
    assert says in err.splitlines()[-1]
    assert server.received == []


def test_failures_are_seven_and_a_second_run_mends_them(
    run: Run, photo: Path, tmp_path: Path, server: ScriptedServer
) -> None:
    names = ["photo.jpg", "late.jpg", "photo.jpg"]
    write_pairs(tmp_path / "p.jsonl", [{"image": name, "query": "q"} for name in names])
    server.script.append(Problem(422, "invalid_field"))
    words = ("batch", "p.jsonl", "-o", "o.jsonl", "--concurrency", "1", "--coco", "c.json")
    code, _, err = run(*words)
    assert code == 7
    assert "pair 0, photo.jpg: A detail (invalid_field" in err
    assert "no file late.jpg" in err
    assert "1 of 3 pairs answered" in err
    assert len(json.loads((tmp_path / "c.json").read_text())["annotations"]) == 1
    (tmp_path / "late.jpg").write_bytes(photo.read_bytes())
    assert run(*words)[0] == 0
    assert len(server.received) == 4
    assert len(json.loads((tmp_path / "c.json").read_text())["annotations"]) == 3


def test_a_missing_server_is_reported_at_once(
    run: Run, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nowhere: str
) -> None:
    write_pairs(tmp_path / "p.jsonl", [{"image": "photo.jpg", "query": "q"}])
    monkeypatch.setenv("WISE_URL", nowhere)
    monkeypatch.setattr("wise_client.retry.RetryPolicy.wait_s", lambda *_: None)
    code, _, err = run("batch", "p.jsonl", "-o", "o.jsonl")
    assert code == 6
    assert "is wise-serve running" in err
    assert records(tmp_path / "o.jsonl") == []


def test_a_server_that_goes_away_ends_the_run(
    run: Run, photo: Path, tmp_path: Path, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [{"image": "photo.jpg", "query": f"{i}"} for i in range(500)]
    write_pairs(tmp_path / "p.jsonl", pairs)
    server.script.extend([None] * 10 + [Disconnect()] * 490)
    monkeypatch.setattr("wise_client.retry.RetryPolicy.wait_s", lambda *_: None)
    code, _, err = run("batch", "p.jsonl", "-o", "o.jsonl", "--concurrency", "4")
    assert code == 6
    assert "connection_lost" in err.splitlines()[-1]
    kept = records(tmp_path / "o.jsonl")
    assert 10 <= len(kept) < 100
    assert sum("response" in one for one in kept) == 10


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(
    photo: Path, tmp_path: Path, server: ScriptedServer
) -> None:
    count, concurrency = 60, 4
    pairs = [{"image": "photo.jpg", "query": f"{i}"} for i in range(count)]
    write_pairs(tmp_path / "p.jsonl", pairs)
    output = tmp_path / "o.jsonl"
    words = ["batch", "p.jsonl", "-o", "o.jsonl", "--concurrency", str(concurrency)]
    command = [sys.executable, "-m", "wise_client.cli.main", *words]
    environment = {**os.environ, "WISE_URL": server.url}
    server.delay_s = 0.03
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE) as child:
        until = time.monotonic() + 20
        while time.monotonic() < until and len(server.received) < count // 3:
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    complete = output.read_bytes().rpartition(b"\n")[0].splitlines()
    answered = [json.loads(line)["query"] for line in complete]
    sent_before = len(server.received)
    assert 0 < len(answered) <= sent_before < count

    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    sent_after = [str(query) for query in server.queries[sent_before:]]
    assert not set(sent_after) & set(answered)  # nothing that had been answered is sent twice
    assert sorted(sent_after + answered, key=int) == [f"{i}" for i in range(count)]
    assert sent_before - len(answered) <= concurrency  # lost: at most what was under way
    lines = records(output)
    assert [one["query"] for one in lines] == [f"{i}" for i in range(count)]
    assert all("response" in one for one in lines)
    assert f"{count} of {count} pairs answered" in done.stderr.decode()


def test_an_interrupted_run_keeps_what_was_under_way(
    photo: Path, tmp_path: Path, server: ScriptedServer
) -> None:
    pairs = [{"image": "photo.jpg", "query": f"{i}"} for i in range(100)]
    write_pairs(tmp_path / "p.jsonl", pairs)
    server.delay_s = 0.2
    words = ["batch", "p.jsonl", "-o", "o.jsonl", "--no-progress", "--concurrency", "4"]
    command = [sys.executable, "-m", "wise_client.cli.main", *words]
    environment = {**os.environ, "WISE_URL": server.url}
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        # A shell's background job, as a test run may be one, would hand on SIGINT as ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as child:
        until = time.monotonic() + 20
        while time.monotonic() < until and len(server.received) < 6:
            time.sleep(0.005)
        child.send_signal(signal.SIGINT)
        _, told = child.communicate(timeout=20)
    assert (child.returncode, told) == (130, b"wise-segment: interrupted\n")
    kept = sorted(one["query"] for one in records(tmp_path / "o.jsonl"))
    assert kept == sorted(str(query) for query in server.queries)
    assert len(kept) < 100


def test_a_reader_that_goes_away_is_no_error(
    photo: Path, tmp_path: Path, server: ScriptedServer
) -> None:
    command = f"{sys.executable} -m wise_client.cli.main photo.jpg q --json --no-overlay | true"
    environment = {**os.environ, "WISE_URL": server.url}
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert done.stderr == b""
