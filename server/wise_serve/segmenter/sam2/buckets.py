"""Batches of any size for a function that accepts only a few sizes: padded, and cut afterwards."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

BatchedStage = Callable[..., tuple[Tensor, ...]]
"""Tensors in, tensors out. The batch is the first axis; no row depends on another row."""


def bucket_sizes(batch_size: int) -> tuple[int, ...]:
    """The powers of two below `batch_size`, and `batch_size` itself, ascending."""
    return (*(2**k for k in range(batch_size.bit_length()) if 2**k < batch_size), batch_size)


class Bucketed:
    """Calls `stage` only with batches of the given `sizes` (ascending).

    A batch between two sizes is filled with copies of its last row, and their outputs are cut off.
    A batch above the largest size is run in pieces.
    """

    def __init__(self, stage: BatchedStage, sizes: Sequence[int]) -> None:
        self._stage, self._sizes = stage, sizes

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run `stage`. Inputs and outputs have N rows each, N >= 1."""
        count, largest = len(inputs[0]), self._sizes[-1]
        pieces = [
            self._filled([tensor[start : start + largest] for tensor in inputs])
            for start in range(0, count, largest)
        ]
        return pieces[0] if len(pieces) == 1 else tuple(map(torch.cat, zip(*pieces, strict=True)))

    def _filled(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        count = len(inputs[0])
        missing = next(size for size in self._sizes if size >= count) - count
        if not missing:
            return self._stage(*inputs)
        filled = (torch.cat([tensor, *[tensor[-1:]] * missing]) for tensor in inputs)
        return tuple(output[:count] for output in self._stage(*filled))
