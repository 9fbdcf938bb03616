"""A request's time, as one error."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wise_serve.errors import DeadlineExceeded


@asynccontextmanager
async def until(when: float) -> AsyncIterator[None]:
    """Cancel what runs inside at event-loop time `when`. Raises DeadlineExceeded then.

    A TimeoutError of something inside passes unchanged.
    """
    limit = asyncio.timeout_at(when)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeadlineExceeded("The request was not answered in its time.") from None
