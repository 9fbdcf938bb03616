"""Batches padded to a bucket: the stage gets only the bucket sizes, the caller only its own
rows."""

import pytest
import torch
from torch import Tensor

from wise_serve.segmenter.sam2.buckets import Bucketed, bucket_sizes


@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [(1, (1,)), (2, (1, 2)), (8, (1, 2, 4, 8)), (12, (1, 2, 4, 8, 12)), (3, (1, 2, 3))],
)
def test_bucket_sizes_cover_every_batch(batch_size: int, sizes: tuple[int, ...]) -> None:
    assert bucket_sizes(batch_size) == sizes


@pytest.mark.parametrize("count", [*range(1, 10), 16, 17, 19])
def test_every_row_gets_its_own_answer(count: int) -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def stage(one: Tensor, other: Tensor) -> tuple[Tensor, ...]:
        seen.append((one, other))
        return one + other[:, :1], one * 2

    one, other = torch.arange(count * 3.0).view(count, 3), torch.arange(count * 2.0).view(count, 2)
    total, twice = Bucketed(stage, (1, 2, 4, 8))(one, other)
    assert torch.equal(total, one + other[:, :1])
    assert torch.equal(twice, one * 2)
    assert sum(len(batch) for batch, _ in seen) < 2 * count
    for batch, second in seen:
        assert len(batch) == len(second)
        assert len(batch) in (1, 2, 4, 8)


def test_a_bucket_is_padded_with_the_last_row() -> None:
    seen: list[Tensor] = []

    def stage(one: Tensor) -> tuple[Tensor, ...]:
        seen.append(one)
        return (one,)

    Bucketed(stage, (4,))(torch.tensor([[1], [2]]))
    assert seen[0].tolist() == [[1], [2], [2], [2]]
