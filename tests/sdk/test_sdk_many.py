"""`segment_many`: order, bounds, failures as values, and runs that go on where they were."""

import asyncio
import io
import json
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scripted import ScriptedServer
from steps import Disconnect, Problem, Slow
from wise_client import (
    AsyncClient,
    Client,
    InputError,
    Outcome,
    OutputMismatchError,
    RetryPolicy,
    UnsupportedImageError,
    read_records,
)
from wise_client.answers import AnswerFile

FAST = RetryPolicy(base_s=0.0)


def ask(kind: str, url: str, pairs: Iterable[Any], **options: Any) -> list[Outcome]:
    """All outcomes, by either client."""
    if kind == "sync":
        with Client(url, retry=FAST) as client:
            return list(client.segment_many(pairs, **options))

    async def run() -> list[Outcome]:
        async with AsyncClient(url, retry=FAST) as client:
            return [one async for one in client.segment_many(pairs, **options)]

    return asyncio.run(run())


both = pytest.mark.parametrize("kind", ["sync", "async"])


@both
def test_order_is_kept_and_concurrency_bounded(
    kind: str, server: ScriptedServer, jpeg: bytes
) -> None:
    server.delay_s = 0.02
    server.script.append(Slow(0.15))
    outcomes = ask(kind, server.url, [(jpeg, f"{i}") for i in range(20)], concurrency=4)
    assert [(one.index, one.query) for one in outcomes] == [(i, f"{i}") for i in range(20)]
    assert server.most_busy == 4
    assert all(one.ok and one.unwrap().query == one.query for one in outcomes)


@both
def test_failures_are_values(kind: str, server: ScriptedServer, jpeg: bytes) -> None:
    server.script.extend([None, Problem(415, "unsupported_image"), Disconnect()])
    pairs = [(jpeg, "a"), (jpeg, "b"), (jpeg, "c"), ("missing.png", "d"), (jpeg,), 7, (jpeg, "e")]
    outcomes = ask(kind, server.url, pairs, concurrency=1)
    codes = [one.error.code if one.error else None for one in outcomes]
    assert codes[:2] == [None, "unsupported_image"]
    assert codes[3:] == ["invalid_input", "invalid_input", "invalid_input", None]
    with pytest.raises(UnsupportedImageError):
        outcomes[1].unwrap()


@both
def test_a_pil_image_that_pairs_share_is_decoded_once_and_in_a_thread(
    kind: str, server: ScriptedServer, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = Image.open(io.BytesIO(jpeg))
    load, decoding = picture.load, []

    def slow_load() -> object:
        if picture.tile:  # its pixels are not decoded yet
            decoding.append(threading.current_thread())
            time.sleep(0.05)
        return load()

    monkeypatch.setattr(picture, "load", slow_load)
    outcomes = ask(kind, server.url, [(picture, query) for query in "abcd"], concurrency=4)
    assert all(one.ok for one in outcomes)
    assert len(decoding) == 1
    assert decoding[0] is not threading.main_thread()


@both
@pytest.mark.parametrize("output", [False, True])
def test_a_damaged_pil_image_fails_its_own_pair(
    kind: str, output: bool, server: ScriptedServer, jpeg: bytes, tmp_path: Path
) -> None:
    damaged = Image.open(io.BytesIO(jpeg[:-40]))
    pairs = [(jpeg, "a"), (damaged, "b"), (damaged, "c"), (jpeg, "d")]
    kept = tmp_path / "answers.jsonl" if output else None
    outcomes = ask(kind, server.url, pairs, output=kept)
    told = [one.error.detail if one.error else "" for one in outcomes]
    assert [text[:35] for text in told] == ["", *2 * ["The image is damaged or incomplete:"], ""]


@both
def test_pairs_are_read_as_needed(kind: str, server: ScriptedServer, jpeg: bytes) -> None:
    taken: list[int] = []

    def endless() -> Iterator[tuple[bytes, str]]:
        for i in range(10_000):
            taken.append(i)
            yield jpeg, f"{i}"

    async def first() -> None:
        async with AsyncClient(server.url) as client:
            async for one in client.segment_many(endless(), concurrency=2):
                assert one.ok
                break

    if kind == "async":
        asyncio.run(first())
    else:
        with Client(server.url) as client:
            many = client.segment_many(endless(), concurrency=2)
            assert next(iter(many)).ok
            many.close()
    assert len(taken) <= 9


@both
def test_the_output_holds_every_pair_in_order(
    kind: str, server: ScriptedServer, photo: Path, jpeg: bytes, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    server.script.extend([Slow(0.1), Problem(422, "invalid_field")])
    pairs: list[Any] = [(photo, "a"), (photo, "b"), (io.BytesIO(jpeg), "c"), (jpeg, "größer")]
    ask(kind, server.url, pairs, output=output, concurrency=2, strategy="wise")
    records = list(read_records(output))
    assert [one["index"] for one in records] == [0, 1, 2, 3]
    assert records[0]["image"] == str(photo)
    assert records[2]["image"] == records[3]["image"]
    assert records[3]["query"] == "größer"
    assert records[0]["options"] == {"strategy": "wise"}
    failed = [one for one in records if "error" in one]
    assert len(failed) == 1
    assert failed[0]["error"] == {
        "code": "invalid_field",
        "detail": "A detail",
        "status": 422,
        "request_id": "srv-7",
    }
    assert sum("response" in one for one in records) == 3


@both
def test_a_second_run_sends_only_what_failed_or_is_new(
    kind: str, server: ScriptedServer, photo: Path, pixels: np.ndarray, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    pairs: list[Any] = [(photo, "a"), (pixels, "b"), (photo, "nothing")]
    server.script.extend([None, Problem(500, "internal_error"), None])
    ask(kind, server.url, pairs, output=output, concurrency=1)
    outcomes = ask(kind, server.url, [*pairs, (photo, "new")], output=output, concurrency=1)
    assert server.queries == ["a", "b", "nothing", "b", "new"]
    assert [one.resumed for one in outcomes] == [True, False, True, False]
    assert np.array_equal(outcomes[0].unwrap().mask, outcomes[1].unwrap().mask)
    assert outcomes[0].unwrap().overlay().size == (60, 40)
    assert [one["index"] for one in read_records(output)] == [0, 1, 2, 3]


@both
@pytest.mark.parametrize("change", ["query", "image", "options"])
def test_the_output_of_other_pairs_is_not_mixed_up(
    kind: str, server: ScriptedServer, photo: Path, jpeg: bytes, tmp_path: Path, change: str
) -> None:
    output = tmp_path / "out.jsonl"
    ask(kind, server.url, [(photo, "a")], output=output)
    before = output.read_bytes()
    pair = (jpeg if change == "image" else photo, "other" if change == "query" else "a")
    options = {"strategy": "wise"} if change == "options" else {}
    with pytest.raises(OutputMismatchError, match="pair 0; choose another output file"):
        ask(kind, server.url, [pair], output=output, **options)
    assert output.read_bytes() == before
    assert len(server.received) == 1


def test_downscaled_answers_are_kept_in_the_originals_pixels(
    server: ScriptedServer, tmp_path: Path
) -> None:
    image = np.zeros((80, 120), np.uint8)
    image[20:60, 40:80] = 255
    output = tmp_path / "out.jsonl"
    options: dict[str, Any] = {"output": output, "max_side_pixels": 60}
    (first,) = ask("sync", server.url, [(image, "q")], **options)
    (second,) = ask("sync", server.url, [(image, "q")], **options)
    assert second.resumed
    assert second.unwrap().size == (120, 80)
    assert second.unwrap().box == first.unwrap().box
    assert np.array_equal(second.unwrap().mask, first.unwrap().mask)


def test_leaving_early_keeps_what_is_under_way(
    server: ScriptedServer, jpeg: bytes, tmp_path: Path
) -> None:
    server.delay_s = 0.05
    output = tmp_path / "out.jsonl"
    pairs = [(jpeg, f"{i}") for i in range(30)]
    with Client(server.url) as client:
        for outcome in client.segment_many(pairs, concurrency=3, output=output):
            if outcome.index == 4:
                break
    sent = list(server.queries)
    kept = [json.loads(line)["query"] for line in output.read_text().splitlines()]
    assert sorted(kept, key=int) == sorted(sent, key=int)
    assert len(kept) < 30
    ask("sync", server.url, pairs, output=output)
    assert sorted(server.queries, key=int) == [f"{i}" for i in range(30)]


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b'{"index":0,"a":1}\n{"index":1,"a"')
    with AnswerFile(path) as answers:
        assert answers.get(0) == {"index": 0, "a": 1}
        assert answers.get(1) is None
        answers.append({"index": 1, "a": "ä"})
        answers.append({"index": 0, "a": 2})
        assert answers.get(0) == {"index": 0, "a": 2}
        answers.finish()
        assert list(answers.records()) == [{"index": 0, "a": 2}, {"index": 1, "a": "ä"}]
    assert path.read_text("utf-8") == '{"index":0,"a":2}\n{"index":1,"a":"ä"}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with AnswerFile(path) as answers:
        with pytest.raises(InputError, match="being written by another process"):
            AnswerFile(path)
        answers.append({"index": 0})
    with AnswerFile(path) as answers:
        assert len(answers) == 1


@pytest.mark.parametrize("content", [b"text\n", b"[]\n", b'{"a": 1}\n', b'{"index": "x"}\n'])
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b'{"index":0}\n' + content)
    with pytest.raises(InputError, match="line 2 is not of a batch"):
        AnswerFile(path)
    assert path.read_bytes() == b'{"index":0}\n' + content


def test_an_output_without_a_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        AnswerFile(tmp_path / "no" / "out.jsonl")


def test_a_slow_reader_bounds_what_is_asked_ahead(server: ScriptedServer, jpeg: bytes) -> None:
    with Client(server.url) as client:
        many = client.segment_many([(jpeg, f"{i}") for i in range(100)], concurrency=2)
        next(iter(many))
        time.sleep(0.3)
        assert len(server.received) <= 9
        many.close()
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("wise-client")]
