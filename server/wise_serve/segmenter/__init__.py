"""The segmenter: pixels, boxes and points in, masks out.

This module contains only the interface. `supervisor/client.py` is the client of the real worker,
`tests/fakes.py` has a fake. Coordinates are pixels of the image, origin at the top left corner.
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
    """How long an operation waited in the worker's queue, ran on the device, and compressed RLE.

    cached: the embedding existed already.
    """

    queue_ms: float
    work_ms: float
    rle_ms: float = 0.0
    cached: bool = False


class ImageSession(Protocol):
    """One image at the segmenter. Opening the session starts its encode."""

    async def encoded(self) -> Timing:
        """Wait until the embedding exists. Raises SegmenterLost."""

    async def lost(self) -> NoReturn:
        """Wait until the worker is lost, then raise SegmenterLost."""

    async def decode(self, prompts: Sequence[Prompt]) -> tuple[list[Mask], Timing]:
        """One mask for each prompt, in order; waits for the encode. Raises SegmenterLost."""


class Segmenter(Protocol):
    """The workers as the pipeline sees them."""

    name: str

    @property
    def failed(self) -> bool:
        """Whether the segmenter is lost and will not be restarted: the server should then end."""

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
        """Send an image (H x W x 3, RGB, uint8) and start to encode it.

        Entering the context returns as soon as the encode is queued. Leaving it frees the image's
        buffers and drops its work that has not started. `digest`: the pixels' key in the embedding
        cache. Entering raises NotReady while no worker is alive.
        """

    def reopen(
        self, size: tuple[int, int], digest: str, request_id: str
    ) -> AbstractAsyncContextManager[ImageSession]:
        """As `open`, for an image of `size` (height, width; pixels) that was opened before.

        If its embedding is gone, `encoded` and `decode` raise ImageUnknown.
        """
