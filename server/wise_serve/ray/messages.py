"""What ingress and replicas send each other. Pickled by Ray, within one cluster of one version."""

from dataclasses import dataclass
from typing import Any

from wise_serve.reasoner import ReasonDelta


@dataclass(frozen=True, slots=True)
class ReasonerFacts:
    """What the pipeline asks a reasoner outside of any request; see `Reasoner`."""

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
    uint8; None for an image that was sent before. Inside a struct, so that Ray does not fetch them
    to a replica that has the embedding.
    """

    size: tuple[int, int]
    request_id: str
    pixels: Any
