"""A request whose fields are checked, and what its queries share once the image is decoded."""

import asyncio
from collections.abc import Set
from dataclasses import dataclass

from wise_serve.contract.errors import InvalidField
from wise_serve.observe.context import RequestContext
from wise_serve.pipeline.arrival import Sent
from wise_serve.pipeline.events import Emit
from wise_serve.pipeline.known import KnownImage, Shown
from wise_serve.reasoner.strategies import Strategy
from wise_serve.segmenter import ImageSession, Timing


@dataclass(frozen=True, slots=True)
class Job:
    """A checked request for what a query means."""

    context: RequestContext
    image: Sent
    queries: tuple[str, ...]
    strategy: Strategy
    max_instances: int


@dataclass(frozen=True, slots=True)
class Scene:
    """An image on its way through both models.

    shown: the image as the reasoner sees it. session: the image at the segmenter. encode: its
    encode, started when the session was opened. started: `time.perf_counter()` at the request's
    first stage.
    """

    job: Job
    image: KnownImage
    shown: Shown
    session: ImageSession
    encode: asyncio.Task[Timing]
    started: float
    decode_ms: float
    emit: Emit


def check_query(query: str, strategy: Strategy, special_tokens: Set[str]) -> None:
    """A query never acts as markup. Raises InvalidField.

    The text that goes into the prompt is checked as well: lower-casing can create a special token.
    """
    question = strategy.question(query)
    if not question.strip():
        raise InvalidField("The query contains only punctuation.", field="query")
    for token in special_tokens:
        if token in query or token in question:
            raise InvalidField(
                f"The query contains {token!r}, a special token of the model; remove it.",
                field="query",
            )
