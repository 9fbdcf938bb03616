"""The answers of a batch in Parquet: rows, parts, and what is there after an end at any point."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from scripted import ScriptedServer
from wise_client import Client, InputError, OutputMismatchError
from wise_client.answers import AnswerFile
from wise_client.parquet import folder as parquet_folder
from wise_client.parquet import part
from wise_client.parquet.folder import ParquetAnswers
from wise_client.parquet.rows import record_of, row_of, schema

OPTIONS = {"strategy": "wise"}


def asked(index: int, **changed: Any) -> dict[str, Any]:
    pair = {"index": index, "image": f"{index}.png", "query": "q", "options": OPTIONS}
    return pair | changed


Response = dict[str, Any]


@pytest.fixture
def response(server: ScriptedServer, jpeg: bytes) -> dict[str, Any]:
    """The application's answer about `jpeg`."""
    return server.answer(jpeg)


def answered(index: int, response: Response) -> dict[str, Any]:
    return {**asked(index), "response": response}


def failed(index: int) -> dict[str, Any]:
    names = ("code", "detail", "status", "request_id")
    return {**asked(index), "error": dict(zip(names, ("c", "d", 422, "r"), strict=True))}


def opened(path: Path, rows: int | None = 4) -> ParquetAnswers:
    return ParquetAnswers(path, OPTIONS, rows)


def statuses(path: Path) -> dict[int, str]:
    """Index -> status of all rows; fails where an index comes twice."""
    table = pq.read_table(path, columns=["index", "status"]).to_pylist()
    found = {row["index"]: row["status"] for row in table}
    assert len(found) == len(table)
    return found


@pytest.mark.parametrize(("query", "text"), [("q", None), ("nothing", None), ("q", "no box")])
def test_a_row_keeps_the_whole_answer(
    jpeg: bytes, query: str, text: str | None, server: ScriptedServer
) -> None:
    response = server.answer(jpeg, query)
    if text is not None:
        response |= {"status": "unparsed", "text": text}
    record = {**asked(3), "label": "cup", "response": response}
    row = row_of(record)
    assert set(row) <= set(schema().names)
    assert (row["width"], row["height"], row["thinking_tokens"]) == (60, 40, 6)
    empty = dict.fromkeys(schema().names)
    assert record_of(empty | row, OPTIONS) == record


def test_a_row_of_a_failure_keeps_the_error() -> None:
    empty = dict.fromkeys(schema().names)
    row = row_of(failed(3))
    assert row["status"] == "error"
    assert record_of(empty | row, OPTIONS) == failed(3)


def test_answers_in_any_order_become_parts_in_order(tmp_path: Path, response: Response) -> None:
    path = tmp_path / "out"
    with opened(path) as answers:
        for index in (1, 5, 0, 3, 2, 4, 8, 7, 6):
            assert not answers.answered(asked(index))
            answers.append(answered(index, response))
            assert answers.answered(asked(index))
        assert sorted(one.name for one in path.glob("*.parquet")) == [
            "part-00000000.parquet",
            "part-00000001.parquet",
        ]
        answers.finish()
        assert len(answers) == 9
        assert [one["index"] for one in answers.records()] == list(range(9))
        assert answers.get(8) == answered(8, response)
        assert answers.get(9) is None
    assert pq.read_table(path)["index"].to_pylist() == list(range(9))
    assert list((path / "_pending").iterdir()) == []


def test_a_run_goes_on_with_pending_answers(tmp_path: Path, response: Response) -> None:
    path = tmp_path / "out"
    with opened(path) as answers:
        for index in (0, 1, 2, 3, 5):
            answers.append(answered(index, response))
    with opened(path, rows=None) as answers:  # the folder knows how many rows a part has
        assert [answers.answered(asked(i)) for i in range(7)] == [True] * 4 + [False, True, False]
        answers.append(answered(4, response))
        answers.finish()
    assert statuses(path) == dict.fromkeys(range(6), "found")


def test_failures_are_asked_again_and_answers_are_not(tmp_path: Path, response: Response) -> None:
    path = tmp_path / "out"
    with opened(path) as answers:
        for index in range(8):
            answers.append(failed(index) if index in (1, 2) else answered(index, response))
        answers.finish()
    assert statuses(path) == {i: "error" if i in (1, 2) else "found" for i in range(8)}
    with opened(path) as answers:
        assert [i for i in range(8) if not answers.answered(asked(i))] == [1, 2]
        answers.append(answered(1, response))
        assert answers.answered(asked(0))  # while the part is open again
        assert statuses(path)[1] == "error"  # until it is complete again
        answers.append(failed(2))
        answers.finish()
    assert statuses(path) == {i: "error" if i == 2 else "found" for i in range(8)}


def test_more_inputs_fill_up_the_last_part(tmp_path: Path, response: Response) -> None:
    path = tmp_path / "out"
    for start, end in ((0, 6), (6, 9)):
        with opened(path) as answers:
            for index in range(end):
                assert answers.answered(asked(index)) == (index < start)
                if index >= start:
                    answers.append(answered(index, response))
            answers.finish()
            assert len(answers) == end
    assert statuses(path) == dict.fromkeys(range(9), "found")


class Killed(BaseException):
    """Stands for the end of the process: nothing after it runs, no file is closed in order."""


def calls(monkeypatch: pytest.MonkeyPatch, dies_at: int) -> Callable[[], int]:
    """Every change of a name or a file's end counts; the one with this number does not happen."""
    count = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count >= dies_at:
                raise Killed
            return real(*words, **named)

        return call

    monkeypatch.setattr(Path, "replace", counted(Path.replace))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))
    monkeypatch.setattr(os, "fsync", counted(os.fsync))
    monkeypatch.setattr(AnswerFile, "append", counted(AnswerFile.append))
    return lambda: count


def test_an_end_at_any_point_leaves_exactly_one_row_each(
    tmp_path: Path, response: Response, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when failures of an earlier run are asked again, and when the run after it ends too."""
    count, dies_at, most = 10, 0, 0
    while dies_at <= most:
        dies_at += 1
        path = tmp_path / f"out-{dies_at}"
        for attempt in range(4):
            with monkeypatch.context() as patch:
                counted = calls(patch, dies_at if attempt != 3 else 10**9)
                try:
                    with opened(path) as answers:
                        for index in range(count):
                            if not answers.answered(asked(index)):
                                bad = attempt == 0 and index in (1, 7)
                                answers.append(failed(index) if bad else answered(index, response))
                        answers.finish()
                except Killed:
                    pass
                most = max(most, counted() if attempt == 0 else 0)
            if path.exists() and any(path.glob("*.parquet")):
                assert set(statuses(path)) <= set(range(count))
        assert statuses(path) == dict.fromkeys(range(count), "found")
        assert pq.read_table(path)["index"].to_pylist() == list(range(count))
        assert list((path / "_pending").iterdir()) == []
    assert most > 15


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


def test_fewer_inputs_than_rows_are_told(tmp_path: Path, response: Response) -> None:
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


def test_without_pyarrow_what_to_install_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install 'wise-client\[batch\]'"):
        opened(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_part_is_told(tmp_path: Path, response: Response) -> None:
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
