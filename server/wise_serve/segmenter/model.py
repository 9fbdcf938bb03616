"""The worker's interface to a segmentation model. No torch, so that tests can use a fake model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from wise_serve.contract.prompts import Prompt

Pixels = NDArray[np.uint8]
"""An image: H x W x 3, RGB, uint8."""


class Embedding(Protocol):
    """What encoding an image results in."""

    @property
    def nbytes(self) -> int:
        """Memory it holds, bytes."""


EmbeddingT = TypeVar("EmbeddingT", bound=Embedding)


@dataclass(frozen=True, slots=True)
class DecodeItem(Generic[EmbeddingT]):
    """One prompt (in pixels of the image), and the embedding of its image.

    size: height and width of the image, pixels.
    """

    embedding: EmbeddingT
    prompt: Prompt
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class DecodedMask:
    """A mask as it leaves the device.

    size: height and width, pixels. runs: lengths of the runs down the columns, background first, as
    in COCO's uncompressed RLE; int64. score: predicted IoU, 0 to 1. alternatives: the other masks,
    by descending score, if the prompt asks for all of them.
    """

    size: tuple[int, int]
    runs: NDArray[np.int64]
    score: float
    alternatives: tuple["DecodedMask", ...] = ()

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The mask as H x W bool. Serving does not need it."""
        height, width = self.size
        columns = np.repeat(np.arange(len(self.runs)) % 2 == 1, self.runs)
        return columns.reshape(width, height).T


class Model(Protocol[EmbeddingT]):
    """What runs on the device. Not thread-safe: one thread drives it."""

    def encode(self, images: Sequence[Pixels]) -> Sequence[EmbeddingT]:
        """Embed images of any sizes in one batch; one embedding each, in order."""

    def decode(self, items: Sequence[DecodeItem[EmbeddingT]]) -> Sequence[DecodedMask]:
        """One mask for each item, in order, in one batch."""

    def is_out_of_memory(self, error: Exception) -> bool:
        """Whether a smaller batch may succeed."""

    def is_fatal(self, error: Exception) -> bool:
        """Whether the device is lost, so that only a new process can help."""
