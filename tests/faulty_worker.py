"""The segmenter's worker on a device with faults, which images ask for by their first pixel."""

import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from wise_serve.segmenter.model import DecodedMask, DecodeItem
from wise_serve.segmenter.sam2.stages import Features
from wise_serve.segmenter.wire import messages as protocol
from wise_serve.segmenter.worker import main as worker

FITS = 2  # images, or prompts, at once
TOO_LARGE = (1, 2, 3)  # does not fit even alone
TOO_LARGE_TO_DECODE = (1, 2, 4)
LOST = (1, 2, 5)  # after it, the device answers nothing any more
SLOW = (1, 2, 6)  # holds its batch for SLOW_S
SLOW_S = 1.0


class FaultyModel(worker.DeviceModel):
    """The real model; its device has room for little, and is lost on request."""

    def __init__(self, wanted: protocol.Configure, device: torch.device) -> None:
        super().__init__(wanted, device)
        self._lost = False
        self._too_large: set[int] = set()  # embeddings, by identity

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> Sequence[Features]:
        marks = [tuple(int(value) for value in image[0, 0]) for image in images]
        if self._lost or LOST in marks:
            self._lost = True
            raise RuntimeError("CUDA error: device-side assert triggered")
        if SLOW in marks:
            time.sleep(SLOW_S)
        if len(images) > FITS or TOO_LARGE in marks:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        embeddings = super().encode(images)
        found = zip(marks, embeddings, strict=True)
        self._too_large |= {id(item) for mark, item in found if mark == TOO_LARGE_TO_DECODE}
        return embeddings

    def decode(self, items: Sequence[DecodeItem[Features]]) -> Sequence[DecodedMask]:
        if self._lost:
            raise RuntimeError("CUDA error: device-side assert triggered")
        if len(items) > FITS or any(id(item.embedding) in self._too_large for item in items):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().decode(items)


if __name__ == "__main__":
    worker.main(FaultyModel)
