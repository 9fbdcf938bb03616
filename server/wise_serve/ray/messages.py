"""The messages between ingress and replicas. Ray pickles them: all nodes run one version."""

from dataclasses import dataclass
from typing import Any

from wise_serve.reasoner import ReasonDelta


@dataclass(frozen=True, slots=True)
class ReasonerFacts:
    """What the pipeline must know about a reasoner before the first request; see `Reasoner`."""

    image_size: int | None
    special_tokens: frozenset[str]


@dataclass(frozen=True, slots=True)
class Step:
    """A delta, and the UTF-8 bytes of each of its tokens: the ingress has no tokenizer."""

    delta: ReasonDelta
    texts: list[bytes]


@dataclass(frozen=True, slots=True)
class ImageAt:
    """An image for the segmenter.

    size: height, width, pixels. pixels: reference to the array in the object store, H x W x 3, RGB,
    uint8; None for an image that was sent before. The reference lies inside a struct, because Ray
    would fetch the pixels of a bare argument even for a replica that has the embedding.
    """

    size: tuple[int, int]
    request_id: str
    pixels: Any
