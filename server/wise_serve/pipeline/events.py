"""What the pipeline reports while it answers a request. Each event names its query by index."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar

from wise_serve.contract.prompts import Prompt
from wise_serve.pipeline.results import Instance


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """The rationale grew by `text`. `query`: index into the request's queries, here and below."""

    name: ClassVar[str] = "thinking"
    query: int
    text: str


@dataclass(frozen=True, slots=True)
class InstanceFound:
    """An object's prompt is complete in the text, and its mask is being decoded.

    index: which object of its query, from 0.
    """

    name: ClassVar[str] = "instance"
    query: int
    index: int
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class MaskDone:
    """An object's mask is decoded."""

    name: ClassVar[str] = "mask"
    query: int
    index: int
    instance: Instance


Event = ThinkingDelta | InstanceFound | MaskDone
Emit = Callable[[Event], Awaitable[None]]
