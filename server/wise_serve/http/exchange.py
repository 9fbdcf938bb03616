"""One exchange with a caller: the body as it arrives, the response as it is sent, and whether the
caller is still connected.

This is our own code because ASGI reports a disconnect only to code that continues to read, and
nothing reads while the models work.
"""

import asyncio
from collections.abc import Awaitable
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Send

from wise_serve.contract.errors import RequestTimeout, TooLarge
from wise_serve.pipeline.deadlines import until

# Messages of a body that are buffered before the application asks for them: 64 to 320 KiB each.
_MESSAGES_AHEAD: Final = 4


class Response:
    """Passes the response's messages on and knows whether all have been sent."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.complete = False

    async def send(self, message: Message) -> None:
        """ASGI's `send`."""
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        self.complete = last
        await self._send(message)


class Body:
    """The request's messages. A few are read ahead, so that a disconnect is noticed at once.

    `_MESSAGES_AHEAD` are buffered at most. If the rest of a body does not fit into them, a caller
    who leaves is noticed only when the application reads on.
    """

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._read = 0
        self._complete = False
        self._ahead: asyncio.Queue[Message] = asyncio.Queue(_MESSAGES_AHEAD)
        self.deadline: float | None = None  # event-loop time by which all of it must have arrived

    async def gone(self) -> None:
        """Read ahead; returns when the caller has left."""
        while (message := await self._receive())["type"] != "http.disconnect":
            await self._ahead.put(message)

    async def receive(self) -> Message:
        """ASGI's `receive`, but never `http.disconnect`: `until_gone` cancels the work instead.

        Raises TooLarge, RequestTimeout.
        """
        if self._complete:
            return await self._ahead.get()
        late = RequestTimeout(
            "The body did not arrive in time; send it faster, or send a smaller one."
        )
        async with until(self.deadline, late):
            message = await self._ahead.get()
        self._read += len(message.get("body", b""))
        if self._read > self._limit:
            raise TooLarge(f"The body is longer than the {self._limit} bytes that are accepted.")
        self._complete = not message.get("more_body", False)
        return message


async def until_gone(work: Awaitable[None], body: Body, response: Response) -> None:
    """Do the work; if the caller leaves first, cancel it. Raises ClientDisconnect then."""
    working = asyncio.ensure_future(work)
    tasks = [working]
    try:
        await asyncio.wait(tasks, timeout=0)
        if not working.done():  # a refusal without reading the body has already finished
            tasks.append(asyncio.create_task(body.gone()))
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        # An ASGI server reports `http.disconnect` after a complete response, too.
        if not working.done() and not response.complete:
            raise ClientDisconnect
        await working
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
