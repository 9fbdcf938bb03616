"""The results of a request, independent of HTTP. `http/` turns them into the API's form."""

from dataclasses import dataclass

from wise_serve.contract.names import Status
from wise_serve.contract.prompts import Mask, Prompt
from wise_serve.reasoner.answer import Answer
from wise_serve.reasoner.tokens import TokenCounts


@dataclass(frozen=True, slots=True)
class Instance:
    """One object: the prompt that the answer named it by, and its mask."""

    prompt: Prompt
    mask: Mask


@dataclass(frozen=True, slots=True)
class Generation:
    """One finished generation: the answer read from it, its tokens, and its time."""

    answer: Answer
    counts: TokenCounts
    prompt_tokens: int
    cached_tokens: int
    reason_ms: float


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Where a query's time went, ms. Reasoning and encoding run in parallel.

    decode_ms: bytes to pixels; 0 for a known image. reason_ms: the generation, first to last token.
    encode_ms: the image encoder, its queue included; 0 if no mask needed it. segment_ms: the
    slowest mask, from queue to RLE. total_ms: from the decoding of the image on.
    """

    decode_ms: float
    reason_ms: float
    encode_ms: float
    segment_ms: float
    total_ms: float


@dataclass(frozen=True, slots=True)
class RefineTimes:
    """Where a refinement's time went, ms; as in StageTimes."""

    decode_ms: float
    encode_ms: float
    segment_ms: float
    total_ms: float


@dataclass(frozen=True, slots=True)
class Refinement:
    """Masks for prompts about an image of `width` x `height` pixels, as displayed."""

    id: str
    width: int
    height: int
    image_digest: str
    instances: tuple[Instance, ...]
    times: RefineTimes


@dataclass(frozen=True, slots=True)
class Segmentation:
    """The answer to one query about an image of `width` x `height` pixels, as displayed."""

    id: str
    strategy: str
    width: int
    height: int
    image_digest: str
    generation: Generation
    instances: tuple[Instance, ...]
    times: StageTimes

    @property
    def status(self) -> Status:
        """The outcome of the answer."""
        return self.generation.answer.status
