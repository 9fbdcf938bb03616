"""The reasoner of a server without one (`--reasoner none`), which serves only POST /refine."""

from collections.abc import AsyncGenerator, Sequence

from wise_serve.contract.errors import NotReady
from wise_serve.reasoner import ReasonDelta, ReasonRequest
from wise_serve.settings import NO_REASONER


class NoReasoner:
    """Always ready and never called: without a reasoner POST /segment is not served."""

    name = NO_REASONER
    image_size: int | None = None
    alive = True

    async def start(self) -> None:
        """Does nothing: there is no model to load."""

    async def stop(self) -> None:
        """Does nothing: there is no engine to end."""

    def stream(self, request: ReasonRequest) -> AsyncGenerator[ReasonDelta, None]:
        """Raises NotReady."""
        raise NotReady("This server has no reasoner.")

    def special_tokens(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def token_texts(self, token_ids: Sequence[int]) -> list[bytes]:
        """None."""
        return []
