"""Forming batches: no torch, no process, and a clock that the test turns."""

import threading
from dataclasses import dataclass
from typing import cast

import pytest

from wise_serve.contract.errors import Overloaded
from wise_serve.contract.prompts import Prompt
from wise_serve.segmenter.model import Pixels
from wise_serve.segmenter.worker.batcher import MAX_DECODES_IN_A_ROW, Batcher
from wise_serve.segmenter.worker.cache import EmbeddingCache
from wise_serve.segmenter.worker.items import Decode, Encode


@dataclass(frozen=True)
class Vector:
    nbytes: int = 10
    name: str = ""


# Names in place of pixels and prompts, which the batcher never looks at.
def image(name: str) -> Pixels:
    return cast(Pixels, name)


def prompts(*names: str) -> list[Prompt]:
    return [cast(Prompt, name) for name in names]


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def make(clock: Clock, **changes: float) -> Batcher[Vector]:
    options = {"encode": 4, "decode": 8, "wait_s": 0.01, "queue": 100, "cache": 1000} | changes
    return Batcher(
        encode_batch_size=int(options["encode"]),
        decode_batch_size=int(options["decode"]),
        wait_s=options["wait_s"],
        max_queue=int(options["queue"]),
        cache=EmbeddingCache(int(options["cache"])),
        clock=clock,
    )


def encodes(batcher: Batcher[Vector]) -> list[Encode[Vector]]:
    batch = batcher.next_batch(timeout_s=0)
    assert all(isinstance(item, Encode) for item in batch)
    return [item for item in batch if isinstance(item, Encode)]


def decodes(batcher: Batcher[Vector]) -> list[Decode[Vector]]:
    batch = batcher.next_batch(timeout_s=0)
    assert all(isinstance(item, Decode) for item in batch)
    return [item for item in batch if isinstance(item, Decode)]


def embed(batcher: Batcher[Vector], clock: Clock, session: int, digest: str) -> None:
    batcher.open(session, digest, image(digest))
    clock.now += 1
    for item in encodes(batcher):
        batcher.encoded(item, Vector())


def test_an_item_waits_its_limit_for_batch_mates() -> None:
    clock = Clock()
    batcher = make(clock)
    batcher.open(1, "a", image("image a"))
    assert encodes(batcher) == []
    clock.now += 0.009
    batcher.open(2, "b", image("image b"))
    clock.now += 0.0011
    assert [item.image for item in encodes(batcher)] == [image("image a"), image("image b")]


def test_a_full_batch_does_not_wait() -> None:
    clock = Clock()
    batcher = make(clock, encode=2)
    for session, digest in enumerate("abc"):
        batcher.open(session, digest, image(digest))
    assert [item.digest for item in encodes(batcher)] == ["a", "b"]
    assert encodes(batcher) == []
    assert batcher.depth == 1


def test_items_that_waited_for_a_busy_device_are_batched_at_once() -> None:
    clock = Clock()
    batcher = make(clock)
    batcher.open(1, "a", image("a"))
    clock.now += 5  # the device was busy
    assert len(encodes(batcher)) == 1


def test_decodes_go_before_encodes() -> None:
    clock = Clock()
    batcher = make(clock)
    embed(batcher, clock, 1, "a")
    batcher.open(2, "b", image("b"))
    batcher.decode(7, 1, prompts("prompt"))
    clock.now += 1
    assert [item.prompt for item in decodes(batcher)] == prompts("prompt")
    assert [item.digest for item in encodes(batcher)] == ["b"]


def test_a_stream_of_decodes_does_not_starve_an_encode() -> None:
    clock = Clock()
    batcher = make(clock)
    embed(batcher, clock, 1, "a")
    batcher.open(2, "b", image("b"))
    kinds = []
    for operation in range(MAX_DECODES_IN_A_ROW + 1):
        batcher.decode(operation, 1, prompts("prompt"))
        clock.now += 1
        kinds.append(type(batcher.next_batch(timeout_s=0)[0]).__name__)
    assert kinds == ["Decode"] * MAX_DECODES_IN_A_ROW + ["Encode"]


def test_a_decode_waits_for_its_embedding_and_keeps_its_place_in_the_bound() -> None:
    clock = Clock()
    batcher = make(clock, queue=3)
    batcher.open(1, "a", image("a"))
    batcher.decode(7, 1, prompts("first", "second"))
    assert batcher.depth == 3
    with pytest.raises(Overloaded):
        batcher.open(2, "b", image("b"))
    clock.now += 1
    (item,) = encodes(batcher)
    assert decodes(batcher) == []
    embedding = Vector(name="a")
    assert batcher.encoded(item, embedding) == [1]
    clock.now += 1
    batch = decodes(batcher)
    assert [(d.operation, d.position) for d in batch] == [(7, 0), (7, 1)]
    assert [d.prompt for d in batch] == prompts("first", "second")
    assert all(d.embedding is embedding for d in batch)
    assert batcher.depth == 0


def test_a_full_queue_refuses_a_whole_decode() -> None:
    clock = Clock()
    batcher = make(clock, queue=4)
    embed(batcher, clock, 1, "a")
    with pytest.raises(Overloaded):
        batcher.decode(7, 1, prompts(*["prompt"] * 5))
    assert batcher.depth == 0


def test_sessions_with_one_digest_encode_once() -> None:
    clock = Clock()
    batcher = make(clock)
    assert batcher.open(1, "a", image("pixels")) == "miss"
    assert batcher.open(2, "a", image("the same pixels")) == "shared"
    clock.now += 1
    (item,) = encodes(batcher)
    assert batcher.open(3, "a", image("running already")) == "shared"
    assert batcher.encoded(item, Vector()) == [1, 2, 3]
    assert batcher.open(4, "a", image("done already")) == "hit"
    assert item.image is None, "the pixels are let go"


def test_a_closed_session_drops_what_has_not_begun() -> None:
    clock = Clock()
    batcher = make(clock)
    batcher.open(1, "a", image("a"))
    batcher.decode(7, 1, prompts("prompt"))
    batcher.close(1)
    clock.now += 1
    assert batcher.next_batch(timeout_s=0) == []
    assert batcher.depth == 0
    assert batcher.open(2, "a", image("a")) == "miss", "a dropped encode is not waited for"


def test_a_shared_encode_survives_one_of_its_sessions() -> None:
    clock = Clock()
    batcher = make(clock)
    batcher.open(1, "a", image("a"))
    batcher.open(2, "a", image("a"))
    batcher.decode(7, 1, prompts("of the one that leaves"))
    batcher.decode(8, 2, prompts("of the one that stays"))
    batcher.close(1)
    clock.now += 1
    (item,) = encodes(batcher)
    assert batcher.encoded(item, Vector()) == [2]
    clock.now += 1
    assert [d.operation for d in decodes(batcher)] == [8]


def test_a_cancelled_operation_is_dropped_and_its_mates_are_not() -> None:
    clock = Clock()
    batcher = make(clock)
    embed(batcher, clock, 1, "a")
    batcher.decode(7, 1, prompts("a", "b"))
    batcher.decode(8, 1, prompts("c"))
    batcher.cancel(7)
    clock.now += 1
    assert [d.prompt for d in decodes(batcher)] == prompts("c")


def test_a_failed_encode_names_everyone_who_waited() -> None:
    clock = Clock()
    batcher = make(clock)
    batcher.open(1, "a", image("a"))
    batcher.open(2, "a", image("a"))
    batcher.decode(7, 1, prompts("x", "y"))
    clock.now += 1
    (item,) = encodes(batcher)
    assert batcher.encode_failed(item) == ([1, 2], [7])
    assert batcher.depth == 0
    with pytest.raises(KeyError):
        batcher.decode(8, 1, prompts("z"))
    assert batcher.open(3, "a", image("a")) == "miss"


def test_a_live_session_keeps_an_evicted_embedding() -> None:
    clock = Clock()
    batcher = make(clock, cache=10)
    embed(batcher, clock, 1, "a")
    embed(batcher, clock, 2, "b")
    assert batcher.open(3, "a", image("a")) == "miss"
    batcher.decode(7, 1, prompts("prompt"))
    clock.now += 1
    assert decodes(batcher)[0].embedding is not None


def test_work_wakes_a_waiting_device_thread() -> None:
    batcher = make(Clock(), encode=1)
    taken: list[object] = []
    thread = threading.Thread(target=lambda: taken.extend(batcher.next_batch()))
    thread.start()
    batcher.open(1, "a", image("a"))
    thread.join(5)
    assert len(taken) == 1


def test_stop_wakes_a_waiting_device_thread() -> None:
    batcher = make(Clock())
    batches: list[object] = []
    thread = threading.Thread(target=lambda: batches.append(batcher.next_batch()))
    thread.start()
    batcher.stop()
    thread.join(5)
    assert batches == [[]]
