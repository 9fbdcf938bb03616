"""deploy/ray/batch.py on a real Ray on this machine, with kills: exactly one row for each input.

Run by `make ray-test` in an environment of its own. The servers are the real application on fakes,
run by the project's environment.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pyarrow.dataset as ds
import pytest

import bulk_data

ROOT = Path(__file__).parents[2]
FILES, EACH, BAD = 4, 30, (5, 64)
WAIT_S = 180


@contextmanager
def application() -> Iterator[str]:
    """The address of one server; it ends when its standard input is closed."""
    python = ROOT / ".venv" / "bin" / "python"
    words: list[str | Path] = [python, ROOT / "tests" / "scripted.py", "0.02"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()


def answers_of(url: str) -> float:
    """How many requests a server has answered, by its own metrics."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("wise_requests_total"))


@pytest.fixture
def servers() -> Iterator[list[str]]:
    with application() as one, application() as two:
        yield [one, two]


def command(source: str, out: Path, servers: list[str], *more: str) -> list[str]:
    urls = [word for url in servers for word in ("--url", url)]
    script = [sys.executable, str(ROOT / "deploy" / "ray" / "batch.py")]
    words = [*script, source, "--query", "q", "-o", str(out), *urls, *more]
    return [*words, "--", "--rows-per-part", "10", "--concurrency", "2"]


def ended(words: list[str], folder: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        words, capture_output=True, text=True, timeout=WAIT_S, check=False, cwd=folder
    )


def rows_of(out: Path) -> list[dict[str, Any]]:
    files = [str(one) for one in out.glob("shard-*/part-*.parquet")]
    rows: list[dict[str, Any]] = ds.dataset(files).to_table().to_pylist() if files else []
    return rows


def answered(out: Path) -> int:
    pending = out.glob("shard-*/_pending/*.jsonl")
    return len(rows_of(out)) + sum(one.read_bytes().count(b"\n") for one in pending)


def archives(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for file in range(FILES):
        numbers = range(file * EACH, (file + 1) * EACH)
        images = [b"no image" if n in BAD else bulk_data.png(n + 1000) for n in numbers]
        columns: dict[str, list[Any]] = {"image": images, "id": [f"{n:04}" for n in numbers]}
        bulk_data.parquet(folder / f"{file}.parquet", columns)
    return folder


def test_kills_of_everything_leave_exactly_one_row_each(tmp_path: Path, servers: list[str]) -> None:
    out = tmp_path / "out"
    words = command(str(archives(tmp_path / "in")), out, servers)
    words += ["--name-column", "id"]
    killed = 0
    for _ in range(2):
        before = answered(out)
        with subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as child:
            until = time.monotonic() + WAIT_S
            while child.poll() is None and answered(out) < before + 20 and time.monotonic() < until:
                time.sleep(0.05)
            killed += child.poll() is None
            child.send_signal(signal.SIGKILL)  # Ray's own processes end with it
    assert killed == 2
    assert answered(out) < FILES * EACH
    done = ended(words)
    assert done.returncode == 7, done.stderr
    rows = rows_of(out)
    assert sorted(row["image"] for row in rows) == [f"{n:04}" for n in range(FILES * EACH)]
    for row in rows:
        number = int(row["image"])
        assert (row["status"] == "error") == (number in BAD)
        if number not in BAD:
            assert (row["width"], row["height"]) == bulk_data.size_of(number + 1000)
    bad = [json.loads(line) for one in out.glob("*.bad.jsonl") for line in one.open()]
    assert sorted(one["image"] for one in bad) == [f"{n:04}" for n in BAD]
    assert f"{FILES} of {FILES} shards, {FILES * EACH} rows (2 failed, " in done.stderr
    assert "tokens/request" in done.stderr
    assert all(answers_of(url) > 10 for url in servers)


def test_a_folder_is_cut_into_shards_and_a_server_that_is_gone_is_passed_over(
    tmp_path: Path, servers: list[str]
) -> None:
    photos = bulk_data.folder(tmp_path / "photos", 25)
    with application() as gone:
        pass
    out = tmp_path / "out"
    words = command(str(photos), out, [gone, servers[0]], "--rows-per-shard", "10")
    done = ended(words)
    assert done.returncode == 0, done.stderr
    assert sorted(Path(row["image"]).name for row in rows_of(out)) == [
        f"{n:04}.png" for n in range(25)
    ]
    assert "3 of 3 shards" in done.stderr


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_paths_are_relative_to_the_image_root_which_may_be_relative_itself(
    kind: str, tmp_path: Path, servers: list[str]
) -> None:
    photos, lists = bulk_data.folder(tmp_path / "photos", 3), tmp_path / "lists"
    lists.mkdir()
    names = sorted(one.name for one in photos.iterdir())
    if kind == "parquet":
        bulk_data.parquet(lists / "some.parquet", {"image": names, "id": names})
    else:
        (lists / "some.jsonl").write_text("".join(f'{{"image": "{name}"}}\n' for name in names))
    words = command(f"lists/some.{kind}", Path("out"), servers, "--image-root", "photos")
    done = ended(words, tmp_path)
    assert done.returncode == 0, done.stderr
    assert [row["width"] for row in rows_of(tmp_path / "out")] == [24, 25, 26]


def test_a_folder_of_parquet_files_in_the_layout_of_spark(
    tmp_path: Path, servers: list[str]
) -> None:
    archives(tmp_path / "train.parquet" / "in")
    archives(tmp_path / "train.parquet" / "_temporary")
    out = tmp_path / "out"
    done = ended(command(str(tmp_path), out, servers))
    assert done.returncode == 7, done.stderr
    assert f"{FILES} of {FILES} shards, {FILES * EACH} rows (2 failed, " in done.stderr
    assert len(rows_of(out)) == FILES * EACH


def test_started_again_it_does_what_is_left_and_nothing_else(
    tmp_path: Path, servers: list[str]
) -> None:
    photos, out = bulk_data.folder(tmp_path / "photos", 25), tmp_path / "out"
    words = command(str(photos), out, servers, "--rows-per-shard", "10")
    assert ended(words).returncode == 0
    again = ended(words)
    assert again.returncode == 0, again.stderr
    assert "25 rows (0 failed, 25 from before), 0.0 rows/s" in again.stderr
    assert "0 min left" in again.stderr
    other = ended(["another" if word == "q" else word for word in words])
    assert other.returncode == 2
    assert "holds answers to other --query" in other.stderr
    # A shard that cannot be read is reported, and the others go on.
    next((out / "shard-000000").glob("part-*.parquet")).write_bytes(b"PAR1")
    damaged = ended(words)
    assert damaged.returncode == 1
    assert "ArrowInvalid" in damaged.stderr
    assert "3 of 3 shards, 15 rows (0 failed, 15 from before)" in damaged.stderr
