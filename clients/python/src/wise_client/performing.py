"""Performing an operation's steps, with or without `await`. The clients share all else.

Each step's result, or its exception, goes back into the generator of steps, until that returns.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import httpx

from wise_client.errors import ConnectFailedError
from wise_client.steps import Pause, Send, Step, Steps, Work, is_event_stream

T = TypeVar("T")


class Performer:
    """Performs steps in the calling thread. `sleep`: waits in place of the clock, in tests."""

    def __init__(self, http: httpx.Client, sleep: Callable[[float], None] | None) -> None:
        self._http, self._sleep = http, sleep

    def __call__(self, steps: Steps[T], leaving: threading.Event | None = None) -> T:
        """Perform `steps` to their end and return their result; raises what they raise.

        Once `leaving` is set, no wait before a retry goes on: ConnectFailedError ends `steps`.
        """
        resume: Callable[[], Step] = partial(next, steps)
        while True:
            try:
                step = resume()
            except StopIteration as stop:
                result: T = stop.value
                return result
            try:
                resume = partial(steps.send, self._perform(step, leaving))
            except Exception as error:
                resume = partial(steps.throw, error)

    def _perform(self, step: Step, leaving: threading.Event | None) -> object:
        if isinstance(step, Work):
            return step.call()
        if isinstance(step, Pause):
            if self._sleep is not None:
                self._sleep(step.seconds)
            elif (leaving or threading.Event()).wait(step.seconds):
                raise ConnectFailedError("The run ended before the request was sent again")
            return None
        return self._attempt(step)

    def _attempt(self, step: Send) -> httpx.Response:
        request = step.request.build(self._http, step.trace.record)
        response = self._http.send(request, stream=step.stream)
        if step.stream and not is_event_stream(response):
            try:
                response.read()
            finally:
                response.close()
        return response


class AsyncPerformer:
    """Performs steps on the event loop; slow work goes to a thread."""

    def __init__(self, http: httpx.AsyncClient, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._http, self._sleep = http, sleep

    async def __call__(self, steps: Steps[T]) -> T:
        """Perform `steps` to their end and return their result; raises what they raise."""
        resume: Callable[[], Step] = partial(next, steps)
        while True:
            try:
                step = resume()
            except StopIteration as stop:
                result: T = stop.value
                return result
            try:
                resume = partial(steps.send, await self._perform(step))
            except Exception as error:
                resume = partial(steps.throw, error)

    async def _perform(self, step: Step) -> object:
        if isinstance(step, Work):
            return await asyncio.to_thread(step.call)
        if isinstance(step, Pause):
            await self._sleep(step.seconds)
            return None
        return await self._attempt(step)

    async def _attempt(self, step: Send) -> httpx.Response:
        request = step.request.build(self._http, step.trace.arecord)
        response = await self._http.send(request, stream=step.stream)
        if step.stream and not is_event_stream(response):
            try:
                await response.aread()
            finally:
                await response.aclose()
        return response
