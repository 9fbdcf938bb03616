"""Deadlines: work that is late ends with one kind of error. Shared by HTTP and the pipeline."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wise_serve.contract.errors import DeadlineExceeded, WiseError


@asynccontextmanager
async def until(when: float | None, error: WiseError | None = None) -> AsyncIterator[None]:
    """Cancel what runs inside at event-loop time `when`. Raises `error` then, or DeadlineExceeded.

    None: never. A TimeoutError of something inside passes unchanged.
    """
    limit = asyncio.timeout_at(when)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        late = error or DeadlineExceeded("The request was not answered before its deadline.")
        raise late from None
