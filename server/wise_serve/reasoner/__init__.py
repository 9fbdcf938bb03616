"""The reasoner: image and sentence in, text with boxes and points out.

This module holds only the interface; `engine.py` is the real one (vLLM), `tests/fakes.py` a fake.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from PIL.Image import Image

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class ReasonRequest:
    """One generation.

    image: RGB, already resized as the strategy says.
    image_digest: a digest of these pixels; requests with equal digests share caches.
    prompt: the user turn's text, made by its strategy; contains no special token.
    system: the system turn's text; None: the one in the chat template.
    lora: name of the LoRA adapter to use; None: the checkpoint alone.
    max_tokens: limit of generated tokens.
    pattern: regular expression that the text must match, from `grammar.py`; None: free text.
    """

    request_id: str
    image: Image
    image_digest: str
    prompt: str
    max_tokens: int
    pattern: str | None = None
    system: str | None = None
    lora: str | None = None


@dataclass(frozen=True, slots=True)
class ReasonDelta:
    """What one step of the engine added: one token, or several with speculative decoding.

    Counts are totals so far; `finish_reason` is set on the last delta.
    """

    text: str
    token_ids: tuple[int, ...]
    prompt_tokens: int
    cached_tokens: int
    finish_reason: FinishReason | None = None


class Reasoner(Protocol):
    """The engine as the pipeline sees it."""

    name: str
    image_size: int | None
    """Side of the square image that it was trained with, pixels; None: the strategy decides."""

    async def start(self) -> None:
        """Load the model and answer a warm-up request. Raises NotReady if that fails."""

    async def stop(self) -> None:
        """End the engine and its child processes."""

    @property
    def alive(self) -> bool:
        """Whether a request sent now could be answered."""

    def stream(self, request: ReasonRequest) -> AsyncGenerator[ReasonDelta, None]:
        """Generate greedily up to and including `</answer>`.

        Closing the generator early (`aclose`) aborts the generation. Raises NotReady if the
        engine is not loaded, ReasonerLost if it dies.
        """

    def special_tokens(self) -> frozenset[str]:
        """The tokenizer's special tokens, which no query may contain."""

    def token_texts(self, token_ids: Sequence[int]) -> list[bytes]:
        """The UTF-8 bytes of each generated token; a token may end inside a character."""
