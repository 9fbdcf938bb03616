"""An error that prevents the start of `wise-serve serve` is one line and status 1, without a usage
text."""

import subprocess
import sys
from pathlib import Path

import pytest

from wise_serve.cli import main as cli
from wise_serve.reasoner.strategies import Strategy, files


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "--allow-anyone"),
        (["--api-key-file", "/nowhere/keys"], "cannot be read"),
        (["--engine-args", "{"], "--engine-args is not JSON"),
    ],
)
def test_a_setting_that_prevents_the_start_is_one_line_and_status_1(
    arguments: list[str], said: str
) -> None:
    command = [sys.executable, "-m", "wise_serve", "serve", "--port", "0", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("wise-serve: ")
    assert said in line
    assert done.stdout == ""


def test_strategy_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine.json"
    mine.write_text(files.shipped_file("wise").replace('"wise"', '"mine"', 1))
    read: list[Path] = []

    def counted(path: Path) -> Strategy:
        read.append(path)
        return files.read_strategy(path.read_text(), str(path))

    monkeypatch.setattr(files, "read_file", counted)
    arguments = ["serve", "--host", "0.0.0.0", "--device", "cpu", "--strategy-file", str(mine)]
    assert cli.main(arguments) == 1
    assert read == [mine]
