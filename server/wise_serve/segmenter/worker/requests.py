"""What the worker remembers of the gateway's requests until they are answered."""

import time
from dataclasses import dataclass, field

from wise_serve.contract.names import CacheResult
from wise_serve.contract.prompts import Mask
from wise_serve.imaging import masks
from wise_serve.segmenter.model import DecodedMask
from wise_serve.segmenter.wire import messages as protocol


@dataclass
class Session:
    """An image that is open. `size`: height, width in pixels. `opened_at`: monotonic seconds."""

    request_id: str
    size: tuple[int, int]
    opened_at: float
    cache: CacheResult = "miss"


@dataclass
class DecodeRequest:
    """A request for `expected` masks. `masks`: those that are there, by their prompt's position."""

    request_id: str
    expected: int
    queue_ms: float = 0.0
    work_ms: float = 0.0
    rle_ms: float = 0.0
    masks: dict[int, Mask] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every mask is there."""
        return len(self.masks) == self.expected

    def add(self, position: int, decoded: DecodedMask) -> None:
        """Compress the mask of the prompt at `position` and keep it."""
        started = time.monotonic()
        self.masks[position] = _compressed(decoded)
        self.rle_ms += (time.monotonic() - started) * 1e3

    def answer(self, operation: int) -> protocol.Decoded:
        """The message with all masks, in the order of the prompts. `operation`: its number."""
        in_order = tuple(self.masks[position] for position in range(self.expected))
        return protocol.Decoded(
            operation, self.request_id, in_order, self.queue_ms, self.work_ms, self.rle_ms
        )


def _compressed(decoded: DecodedMask) -> Mask:
    counts = masks.compress(decoded.size, decoded.runs)
    area = int(decoded.runs[1::2].sum())
    alternatives = tuple(_compressed(other) for other in decoded.alternatives)
    return Mask(decoded.size, counts, decoded.score, area, alternatives)
