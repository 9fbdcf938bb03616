"""The segmenter: pixels, boxes and points in, masks out.

This module holds only the interface; `client.py` speaks to the real worker, `tests/fakes.py` holds
a fake. Coordinates are pixels of the image passed in, origin at the top left corner.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from wise_serve.contract.prompts import Mask, Prompt


@dataclass(frozen=True, slots=True)
class Timing:
    """Where an operation's time went, ms: in the worker's queue, on the device, in RLE."""

    queue_ms: float
    work_ms: float
    rle_ms: float = 0.0
    cached: bool = False


class ImageSession(Protocol):
    """One image at the segmenter. Its encode was started when the session was opened."""

    async def encoded(self) -> Timing:
        """Wait until the embedding exists. Raises SegmenterLost."""

    async def lost(self) -> NoReturn:
        """Wait for as long as the worker lives; then raise SegmenterLost."""

    async def decode(self, prompts: Sequence[Prompt]) -> tuple[list[Mask], Timing]:
        """One mask for each prompt, in order; waits for the encode. Raises SegmenterLost."""


class Segmenter(Protocol):
    """The workers as the pipeline sees them."""

    name: str

    @property
    def failed(self) -> bool:
        """Whether the segmenter is lost for good: the server should then end."""

    async def start(self) -> None:
        """Start the workers and wait for their warm-up. Raises NotReady if that fails."""

    async def stop(self) -> None:
        """End the workers."""

    @property
    def alive(self) -> bool:
        """Whether a request sent now could be answered."""

    def open(
        self, pixels: NDArray[np.uint8], digest: str, request_id: str
    ) -> AbstractAsyncContextManager[ImageSession]:
        """Hand over an image (H x W x 3, RGB, uint8) and start to encode it.

        Entering returns as soon as the encode is queued. Leaving frees the image's buffers, and
        drops work of it that has not begun. `digest` names the pixels for the embedding cache.
        """

    def reopen(
        self, size: tuple[int, int], digest: str, request_id: str
    ) -> AbstractAsyncContextManager[ImageSession]:
        """As `open`, for an image of `size` (height, width; pixels) that was opened before.

        If its embedding is gone, `encoded` and `decode` raise ImageUnknown.
        """
