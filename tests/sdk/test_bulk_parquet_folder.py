"""A Parquet folder of answers that belongs to another batch, is damaged, or is in use."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from answer_rows import OPTIONS, Response, answered, asked, failed, opened, statuses
from scripted import ScriptedServer
from wise_client import Client, InputError, OutputMismatchError
from wise_client.parquet import folder as parquet_folder
from wise_client.parquet import part
from wise_client.parquet.folder import ParquetAnswers


@pytest.fixture
def response(server: ScriptedServer, jpeg: bytes) -> dict[str, Any]:
    """The application's answer about `jpeg`."""
    return server.answer(jpeg)


def test_other_questions_or_options_are_not_mixed_up(tmp_path: Path, response: Response) -> None:
    path = tmp_path / "out"
    with opened(path) as answers:
        for index in range(6):
            answers.append(answered(index, response))
        for index in (0, 5):  # in a part, and pending
            for changed in ({"image": "x"}, {"query": "x"}):
                with pytest.raises(OutputMismatchError, match=f"pair {index}; choose another"):
                    answers.answered(asked(index, **changed))
            assert answers.answered(asked(index, label="another name of the class"))
    with pytest.raises(OutputMismatchError, match="other options"):
        ParquetAnswers(path, {})
    with pytest.raises(OutputMismatchError, match="rows_per_part"):
        opened(path, 5)


def test_fewer_inputs_than_rows_are_reported(tmp_path: Path, response: Response) -> None:
    with opened(tmp_path / "out") as answers:
        for index in (0, 2):
            answers.append(answered(index, response))
        with pytest.raises(OutputMismatchError, match="of more pairs"):
            answers.finish()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        opened(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(InputError, match="cannot be written"):
        opened(tmp_path / "no" / "out")


def test_two_processes_do_not_write_one_folder(tmp_path: Path) -> None:
    with opened(tmp_path / "out"), pytest.raises(InputError, match="by another process"):
        opened(tmp_path / "out")
    opened(tmp_path / "out").close()


@pytest.mark.parametrize("killed", ["before its part is written", "after it"])
def test_all_pairs_of_a_part_that_failed_are_asked_again_in_one_run(
    tmp_path: Path, response: Response, killed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_folder, "write", part.write if killed == "after it" else _killed)
    with opened(tmp_path / "out") as answers, suppress(ProcessLookupError):
        for record in (answered(0, response), failed(1), failed(2), answered(3, response)):
            answers.append(record)
    monkeypatch.setattr(parquet_folder, "write", part.write)
    with opened(tmp_path / "out") as answers:
        again = [index for index in range(4) if not answers.answered(asked(index))]
        assert again == [1, 2]
        answers.append(failed(1))
        answers.append(answered(2, response))
        answers.finish()
    assert statuses(tmp_path / "out") == {0: "found", 1: "error", 2: "found", 3: "found"}


def _killed(*_: Any) -> None:
    raise ProcessLookupError


def test_without_pyarrow_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install 'wise-client\[batch\]'"):
        opened(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_part_is_reported(tmp_path: Path, response: Response) -> None:
    path = tmp_path / "out"
    with opened(path) as answers:
        for index in range(4):
            answers.append(answered(index, response))
    (path / "part-00000000.parquet").write_bytes(b"PAR1")
    with opened(path) as answers, pytest.raises(InputError, match=r"part-00000000\.parquet cannot"):
        answers.answered(asked(0))


def test_the_sdk_writes_parquet_too(
    server: Any, client: Client, photo: Path, tmp_path: Path
) -> None:
    pairs = [(photo, f"{i}") for i in range(6)]
    for resumed in (False, True):
        with ParquetAnswers(tmp_path / "out", {}, 4) as answers:
            outcomes = list(client.segment_many(pairs, output=answers))
        assert [one.resumed for one in outcomes] == [resumed] * 6
        assert [one.unwrap().mask.sum() for one in outcomes] == [400] * 6
    assert len(server.received) == 6
    assert json.loads((tmp_path / "out" / ".job.json").read_text())["rows_per_part"] == 4


def test_a_part_has_row_groups_of_bounded_size(
    tmp_path: Path, response: Response, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part, "ROWS_PER_GROUP", 3)
    records = [answered(index, response) for index in range(8)]
    part.write(tmp_path / "x.parquet", iter(records), tmp_path / "x.scratch")
    assert pq.ParquetFile(tmp_path / "x.parquet").num_row_groups == 3
    whole = part.Part(tmp_path / "x.parquet", OPTIONS)
    assert [whole.get(place) for place in (7, 0, 4)] == [records[7], records[0], records[4]]
    assert list(whole.records()) == records
    assert parquet_folder.ROWS_PER_PART >= part.ROWS_PER_GROUP
