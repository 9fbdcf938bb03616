"""The answers of a batch in Parquet: rows, parts, and the files after a stop at any point."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import bulk_data
from answer_rows import OPTIONS, Response, answered, asked, failed, opened, statuses
from command_line import Run
from scripted import ScriptedServer
from wise_client.answers import AnswerFile
from wise_client.parquet.rows import record_of, row_of, schema


@pytest.fixture
def response(server: ScriptedServer, jpeg: bytes) -> dict[str, Any]:
    """The application's answer about `jpeg`."""
    return server.answer(jpeg)


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


def test_answers_under_a_folder_of_inputs_are_no_inputs(
    run: Run, tmp_path: Path, server: ScriptedServer
) -> None:
    (tmp_path / "data").mkdir()
    bulk_data.parquet(tmp_path / "data" / "a.parquet", {"image": [bulk_data.png(0)] * 3})
    for output, query in (("answers", "p"), ("answers", "p"), ("zz", "q")):
        words = ("--query", query, "-o", f"data/{output}", "--no-progress")
        code, _, err = run("batch", "data", *words)
        assert code == 0, err
        assert "3 of 3 pairs" in err
    assert server.queries == ["p"] * 3 + ["q"] * 3
