"""`wise-segment batch` under real SIGKILLs, of itself and of the server: exactly one row each.

The server is a process of its own, on the fakes. Each image has another size, so that an answer
that came to the wrong row would be seen.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import bulk_data
from running import RunningServer, running_server

TESTS = Path(__file__).parents[2]
COUNT, BAD = 150, (40, 41, 149)
KILLS = 6


def fakes() -> AbstractContextManager[RunningServer]:
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    script = TESTS / "process" / "server" / "serve_fakes.py"
    return running_server(script=script, PYTHONPATH=path, DELAY_S="0.001")


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with fakes() as running:
        yield running


def command(url: str, *words: str) -> list[str]:
    batch = [sys.executable, "-m", "wise_client.cli.main", "batch", *words]
    return [*batch, "--url", url, "--rows-per-part", "20", "--concurrency", "6"]


def content(number: int) -> bytes:
    return b"no image" if number in BAD else bulk_data.png(number)


def as_folder(path: Path) -> Path:
    bulk_data.folder(path / "photos", COUNT)
    for number in BAD:
        (path / "photos" / f"{number:04}.png").write_bytes(content(number))
    return path / "photos"


def as_parquet(path: Path) -> Path:
    columns = {"image": [content(number) for number in range(COUNT)]}
    return bulk_data.parquet(path / "in.parquet", columns, rows_per_group=32)


def as_tar(path: Path) -> Path:
    members = [(f"{number:04}.png", content(number)) for number in range(COUNT)]
    return bulk_data.tar(path / "in.tar", members)


def as_pairs(path: Path) -> Path:
    as_folder(path)
    lines = [json.dumps({"image": f"photos/{n:04}.png", "query": "q"}) for n in range(COUNT)]
    (path / "pairs.jsonl").write_text("\n".join(lines))
    return path / "pairs.jsonl"


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder).to_pylist() if any(folder.glob("*.parquet")) else []


def check_rows(rows: list[dict[str, Any]]) -> None:
    """Each input has one row, with its own answer."""
    assert [row["index"] for row in rows] == list(range(COUNT))
    assert [row["index"] for row in rows if row["status"] == "error"] == list(BAD)
    for row in rows:
        if row["status"] != "error":
            assert row["status"] == "found"
            assert (row["width"], row["height"]) == bulk_data.size_of(row["index"])


@pytest.mark.parametrize("made", [as_folder, as_parquet, as_tar, as_pairs])
def test_any_kill_leaves_exactly_one_row_each(
    server: RunningServer, tmp_path: Path, made: Callable[[Path], Path]
) -> None:
    out, dice = tmp_path / "out", random.Random(made.__name__)
    words = command(server.url, str(made(tmp_path)), "--query", "q", "-o", str(out))
    killed = 0
    for _ in range(KILLS):
        with subprocess.Popen(words, stderr=subprocess.PIPE, cwd=tmp_path) as child:
            before = answered(out)
            while child.poll() is None and answered(out) == before:
                time.sleep(0.01)  # a kill before anything was asked tells nothing
            time.sleep(dice.uniform(0, 0.25))
            killed += child.poll() is None
            child.send_signal(signal.SIGKILL)
        indices = [row["index"] for row in rows_of(out)]
        assert len(indices) == len(set(indices))
    assert killed >= 3
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 7, done.stderr
    check_rows(rows_of(out))
    bad = [json.loads(line) for line in (tmp_path / "out.bad.jsonl").read_text().splitlines()]
    assert [one["index"] for one in bad] == list(BAD)
    assert all(one["error"]["code"] == "invalid_input" for one in bad)
    assert f"{COUNT - len(BAD)} of {COUNT} pairs answered" in done.stderr


def answered(out: Path) -> int:
    """Answers that are kept."""
    pending = 0
    for one in out.glob("_pending/*.jsonl"):
        with contextlib.suppress(FileNotFoundError):  # it has just become a Parquet file
            pending += one.read_bytes().count(b"\n")
    return pending + 20 * len(list(out.glob("*.parquet")))


def test_a_killed_server_loses_no_row(tmp_path: Path) -> None:
    photos, out = as_folder(tmp_path), tmp_path / "out"
    for kills in (True, True, False):
        with fakes() as server:
            words = command(server.url, str(photos), "--query", "q", "-o", str(out))
            with subprocess.Popen(
                words,
                stderr=subprocess.PIPE,
                text=True,
                # Where the tests run in the background, a child would inherit SIGINT as ignored.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            ) as child:
                before = answered(out)
                while kills and child.poll() is None and answered(out) < before + 30:
                    time.sleep(0.01)
                if kills:
                    os.kill(server.pid, signal.SIGKILL)
                    time.sleep(0.5)  # the command waits for the server to come back
                    child.send_signal(signal.SIGINT)
                told = child.communicate(timeout=20)[1]
            assert child.returncode == (130 if kills else 7), told
    check_rows(rows_of(out))
