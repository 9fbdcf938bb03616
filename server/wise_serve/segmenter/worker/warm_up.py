"""The first work of a worker, before it reports that it is ready.

On a GPU the worker allocates at once all the memory that it can need. vLLM starts on the same GPU
afterwards, measures the free memory, and fails if another process frees memory meanwhile (vLLM's
`gpu_worker.py`, `determine_available_memory`). torch keeps memory once it is allocated, so it stays
with this process. On a CPU one small batch is enough, because memory is not divided there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from wise_serve.contract.errors import NotReady
from wise_serve.contract.prompts import Prompt
from wise_serve.segmenter.model import DecodeItem, EmbeddingT, Model, Pixels

SMALL_SIZE: Final = (64, 96)  # height, width
LARGE_SIZE: Final = (4000, 8000)  # the default of --max-image-pixels


@dataclass(frozen=True, slots=True)
class Sizes:
    """The largest batches and the cache that the worker's device must hold at the same time."""

    encode_batch_size: int
    decode_batch_size: int
    cache_bytes: int


def warm_up(model: Model[EmbeddingT], largest: Sizes | None) -> None:
    """Encode and decode once. With `largest`, also in the largest batches while the cache is full.

    Raises NotReady if the device has not enough memory for that.
    """
    try:
        _run(model, SMALL_SIZE, 1, 1)
        if largest is not None:
            held = list(_run(model, SMALL_SIZE, largest.encode_batch_size, 1))
            while sum(one.nbytes for one in held) < largest.cache_bytes:
                held += model.encode([_blank(SMALL_SIZE)] * largest.encode_batch_size)
            _run(model, LARGE_SIZE, largest.encode_batch_size, largest.decode_batch_size)
    except Exception as error:
        if largest is None or not model.is_out_of_memory(error):
            raise
        raise NotReady(
            "The segmenter's device has not enough memory for batches of "
            f"{largest.encode_batch_size} images and {largest.decode_batch_size} prompts with "
            f"{largest.cache_bytes / 2**30:.1f} GiB of cached embeddings. Lower "
            "--encode-batch-size, --decode-batch-size or --embedding-cache-bytes, or end other "
            "processes on the device."
        ) from error


def _run(
    model: Model[EmbeddingT], size: tuple[int, int], images: int, prompts: int
) -> Sequence[EmbeddingT]:
    """Run one batch of each kind; returns the embeddings."""
    embeddings = model.encode([_blank(size)] * images)
    height, width = size
    box = (0.0, 0.0, float(width), float(height))
    points = ((width / 3, height / 3), (width / 2, height / 2))
    for count in range(1, len(points) + 1):
        items = [DecodeItem(embeddings[0], Prompt(box, points[:count]), size)] * prompts
        model.decode(items)
    return embeddings


def _blank(size: tuple[int, int]) -> Pixels:
    return np.zeros((*size, 3), np.uint8)
