"""What saves messages between ingress and replicas loses nothing of what they say."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from wise_serve.contract.errors import ImageUnknown
from wise_serve.contract.prompts import Prompt
from wise_serve.ray.messages import ImageAt
from wise_serve.ray.replicas import gathered
from wise_serve.ray.segmenter import RemoteSession
from wise_serve.reasoner import ReasonDelta
from wise_serve.segmenter import Timing

WRITTEN = [
    ReasonDelta("a ", (1,), 900, 0),
    ReasonDelta("red ", (2, 3), 900, 16),
    ReasonDelta("circle", (4,), 900, 16),
    ReasonDelta(".", (5,), 900, 16, "stop"),
]
IMAGE = ImageAt((8, 9), "request", "reference")


def through(deltas: list[ReasonDelta], every_s: float) -> list[ReasonDelta]:
    async def written() -> AsyncIterator[ReasonDelta]:
        for delta in deltas:
            yield delta

    async def scenario() -> list[ReasonDelta]:
        return [delta async for delta in gathered(written(), every_s)]

    return asyncio.run(scenario())


def test_the_first_tokens_and_the_last_ones_come_at_once() -> None:
    first, rest = through(WRITTEN, every_s=60)
    assert first == WRITTEN[0]
    assert rest == ReasonDelta("red circle.", (2, 3, 4, 5), 900, 16, "stop")


def test_what_comes_slower_than_that_is_not_held_back() -> None:
    assert through(WRITTEN, every_s=0) == WRITTEN


def test_a_text_without_an_end_is_passed_on_whole() -> None:
    assert "".join(delta.text for delta in through(WRITTEN[:3], every_s=60)) == "a red circle"


class Replica:
    """A handle of segmenter replicas that knows the image only if it comes with its pixels."""

    def __init__(self, knows: bool) -> None:
        self._knows = knows
        self.asked: list[Any] = []
        self.decode = self

    def remote(self, image: ImageAt, prompts: Any, **_: Any) -> "Replica":
        self.asked.append(image.pixels)
        return self

    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        if not self._knows and self.asked[-1] is None:
            raise ImageUnknown("gone")
        return [], Timing(0.0, 1.0)

    def cancel(self) -> None:
        pass


def decode(replica: Replica, image: ImageAt) -> None:
    async def scenario() -> None:
        async def encoded() -> Timing:
            return Timing(0.0, 0.0)

        session = RemoteSession(replica, image, "digest", asyncio.create_task(encoded()))
        await session.decode([Prompt(box=(1.0, 1.0, 5.0, 5.0))])

    asyncio.run(scenario())


@pytest.mark.parametrize(("knows", "sent"), [(True, [None]), (False, [None, "reference"])])
def test_pixels_go_with_a_decode_only_where_the_embedding_is_gone(
    knows: bool, sent: list[Any]
) -> None:
    replica = Replica(knows)
    decode(replica, IMAGE)
    assert replica.asked == sent


def test_an_image_that_came_without_pixels_stays_unknown() -> None:
    replica = Replica(knows=False)
    with pytest.raises(ImageUnknown):
        decode(replica, replace(IMAGE, pixels=None))
    assert replica.asked == [None]
