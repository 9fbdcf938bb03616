"""The reasoner's replicas as the pipeline sees them."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from PIL import Image

from wise_serve.contract.errors import NotReady, ReasonerLost
from wise_serve.ray.calls import ATTEMPTS, SharedPixels, as_ours, ask, cancel, may_repeat, pause
from wise_serve.ray.messages import ReasonerFacts
from wise_serve.reasoner import ReasonDelta, ReasonRequest
from wise_serve.settings import Settings

# Stands for an image that travels through the object store.
_ELSEWHERE: Final = Image.new("RGB", (1, 1))


class RemoteReasoner:
    """`Reasoner` on the replicas of a deployment.

    If a replica is lost before it has written anything, another one is asked. If it is lost later,
    the request fails with ReasonerLost: the caller may have read the first words already, and
    another engine might continue with different ones.
    """

    def __init__(self, settings: Settings, handle: Any) -> None:
        """`handle`: Ray's DeploymentHandle of `ReasonerReplica`."""
        self.name = settings.reasoner
        self.image_size: int | None = settings.reasoner_image_size_pixels
        self._handle = handle
        self._streams = handle.options(stream=True)
        self._pixels = SharedPixels()
        self._facts: ReasonerFacts | None = None
        # Texts of the tokens seen so far; the vocabulary bounds it.
        self._texts: dict[int, bytes] = {}

    async def start(self) -> None:
        """Wait for a replica; the caller bounds the wait."""
        self._facts = await ask(self._handle.facts, lost=NotReady)
        self.image_size = self._facts.image_size

    async def stop(self) -> None:
        """Nothing to end: Ray ends the replicas."""
        self._facts = None

    @property
    def alive(self) -> bool:
        """Whether a replica has answered. Ray replaces those that are lost; requests wait."""
        return self._facts is not None

    def special_tokens(self) -> frozenset[str]:
        """See `Reasoner.special_tokens`."""
        return frozenset() if self._facts is None else self._facts.special_tokens

    def token_texts(self, token_ids: Sequence[int]) -> list[bytes]:
        """See `Reasoner.token_texts`; of tokens that `stream` has given."""
        return [self._texts[token_id] for token_id in token_ids]

    async def stream(self, request: ReasonRequest) -> AsyncGenerator[ReasonDelta, None]:
        """See `Reasoner.stream`; also raises NotReady, Overloaded."""
        question = replace(request, image=_ELSEWHERE)
        digest = request.image_digest
        async with self._pixels.put(digest, np.asarray(request.image)) as pixels:
            for attempt in range(ATTEMPTS):
                begun = False
                steps = self._streams.stream.remote(
                    question, pixels, digest=digest, attempt=attempt
                )
                try:
                    async for step in steps:
                        begun = True
                        self._texts.update(zip(step.delta.token_ids, step.texts, strict=True))
                        yield step.delta
                    return
                except Exception as error:
                    failure = as_ours(error, ReasonerLost)
                    if begun or not may_repeat(failure, attempt):
                        raise failure from None
                finally:
                    cancel(steps)
                await pause(attempt)
