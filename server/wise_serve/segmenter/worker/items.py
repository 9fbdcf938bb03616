"""What waits in the batcher: encodes of images, and decodes of prompts."""

from dataclasses import dataclass, field
from typing import Generic

from wise_serve.contract.prompts import Prompt
from wise_serve.segmenter.model import EmbeddingT, Pixels


@dataclass(eq=False)
class Encode(Generic[EmbeddingT]):
    """One image to embed. `sessions`: the ids of the sessions that need it."""

    digest: str
    image: Pixels | None
    sessions: set[int] = field(default_factory=set)
    embedding: EmbeddingT | None = None
    # Decodes that wait for the embedding.
    parked: list["Decode[EmbeddingT]"] = field(default_factory=list)
    queued_at: float = 0.0


@dataclass(eq=False)
class Decode(Generic[EmbeddingT]):
    """One prompt to decode. `operation`: its request; `position`: its place in that request."""

    operation: int
    session: int
    position: int
    prompt: Prompt
    source: Encode[EmbeddingT]
    queued_at: float = 0.0

    @property
    def embedding(self) -> EmbeddingT:
        """The image's embedding. It exists when this item is in a batch."""
        assert self.source.embedding is not None
        return self.source.embedding
