"""A worker's first work: on a GPU it takes all its memory before vLLM measures what is left."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from wise_serve.contract.errors import NotReady
from wise_serve.segmenter.model import DecodedMask, DecodeItem, Pixels
from wise_serve.segmenter.worker.warm_up import LARGE_SIZE, Sizes, warm_up


@dataclass
class FakeEmbedding:
    """`owner` counts how many exist, by reference counting."""

    owner: "FakeModel"
    nbytes: int = 100

    def __post_init__(self) -> None:
        self.owner.alive += 1
        self.owner.most_alive = max(self.owner.most_alive, self.owner.alive)

    def __del__(self) -> None:
        self.owner.alive -= 1


class FakeModel:
    """Records the sizes of its batches. `room`: embeddings that its memory holds."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.alive = self.most_alive = 0
        self.encoded: list[int] = []
        self.decoded: list[tuple[int, int, tuple[int, int]]] = []  # prompts, points, size

    def encode(self, images: Sequence[Pixels]) -> list[FakeEmbedding]:
        if self.alive + len(images) > self.room:
            raise MemoryError
        self.encoded.append(len(images))
        return [FakeEmbedding(self) for _ in images]

    def decode(self, items: Sequence[DecodeItem[FakeEmbedding]]) -> list[DecodedMask]:
        self.decoded.append((len(items), len(items[0].prompt.points), items[0].size))
        return [DecodedMask(item.size, np.array([1]), 0.5) for item in items]

    def is_out_of_memory(self, error: Exception) -> bool:
        return isinstance(error, MemoryError)

    def is_fatal(self, error: Exception) -> bool:
        return False


def test_a_small_batch_is_enough_on_a_cpu() -> None:
    model = FakeModel()
    warm_up(model, None)
    assert model.encoded == [1]
    assert {prompts for prompts, _, _ in model.decoded} == {1}


def test_on_a_gpu_the_largest_batches_run_while_the_cache_is_full() -> None:
    model = FakeModel()
    warm_up(model, Sizes(encode_batch_size=8, decode_batch_size=32, cache_bytes=2000))
    assert max(model.encoded) == 8
    assert {(32, 1, LARGE_SIZE), (32, 2, LARGE_SIZE)} <= set(model.decoded)
    assert model.most_alive >= 20 + 8  # the cache's bound, and a batch on its way
    assert model.alive == 0  # what was held is free for the first requests


def test_a_device_that_is_too_small_is_reported_with_the_flags_to_lower() -> None:
    with pytest.raises(NotReady, match=r"--encode-batch-size.*--embedding-cache-bytes"):
        warm_up(FakeModel(room=10), Sizes(8, 32, 2000))
