"""One interface to the two clients, so that a test covers both."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from wise_client import AsyncClient, Client, RetryPolicy

FAST = RetryPolicy(base_s=0.0)


class Both:
    """`kind` is "sync" or "async"."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def call(self, url: str, name: str, *args: Any, timeouts: Any = None, **options: Any) -> Any:
        """One method of a fresh client; a stream is gathered into a list."""
        if self.kind == "sync":
            with Client(url, retry=FAST, timeouts=timeouts) as client:
                value = getattr(client, name)(*args, **options)
                return list(value) if isinstance(value, Iterator) else value

        async def run() -> Any:
            async with AsyncClient(url, retry=FAST, timeouts=timeouts) as client:
                value = getattr(client, name)(*args, **options)
                if isinstance(value, AsyncIterator):
                    return [one async for one in value]
                return await value

        return asyncio.run(run())
