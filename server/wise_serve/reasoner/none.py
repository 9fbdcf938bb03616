"""The reasoner of a server that has none (`--reasoner none`): it serves POST /refine alone."""

from collections.abc import AsyncGenerator, Sequence

from wise_serve.contract.errors import NotReady
from wise_serve.reasoner import ReasonDelta, ReasonRequest
from wise_serve.settings import NO_REASONER


class NoReasoner:
    """Always ready, and never asked: without a reasoner POST /segment is not served."""

    name = NO_REASONER
    image_size: int | None = None
    alive = True

    async def start(self) -> None:
        """Nothing to load."""

    async def stop(self) -> None:
        """Nothing to end."""

    def stream(self, request: ReasonRequest) -> AsyncGenerator[ReasonDelta, None]:
        """Raises NotReady."""
        raise NotReady("This server has no reasoner.")

    def special_tokens(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def token_texts(self, token_ids: Sequence[int]) -> list[bytes]:
        """None."""
        return []
