"""What happens while a request is answered, as server-sent events name it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar

from wise_serve.contract.schemas import InstanceResult
from wise_serve.reasoner.answer import Instance


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """The rationale went on. `query`: index into the request's queries, here and below."""

    name: ClassVar[str] = "thinking"
    query: int
    text: str


@dataclass(frozen=True, slots=True)
class InstanceFound:
    """An object's box is complete in the text; its mask is being decoded. `index`: which object."""

    name: ClassVar[str] = "instance"
    query: int
    index: int
    instance: Instance


@dataclass(frozen=True, slots=True)
class MaskDone:
    """An object's mask is there."""

    name: ClassVar[str] = "mask"
    query: int
    index: int
    result: InstanceResult


Event = ThinkingDelta | InstanceFound | MaskDone
Emit = Callable[[Event], Awaitable[None]]


async def discard(event: Event) -> None:
    """For a caller who wants only the end."""
