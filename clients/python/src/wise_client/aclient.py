"""The asynchronous client: `Client` with `await`. Its methods are described there."""

import asyncio
import os
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any

import httpx

from wise_client.answers import Answers
from wise_client.batch import WINDOW_PER_WORKER, BatchJob, Outcome, Pair
from wise_client.config import Config, Timeouts
from wise_client.core import Core, OpenStream
from wise_client.errors import ImageUnknownError
from wise_client.events import StreamEvent
from wise_client.inputs import ImageInput
from wise_client.masks import BoolMask
from wise_client.performing import AsyncPerformer
from wise_client.prompts import Change, Click, Prompt, the_prompts
from wise_client.requests import MaskFormat, Options, RefineOptions, Strategy
from wise_client.results import Segmentation
from wise_client.retry import RetryPolicy
from wise_client.steps import Steps, transport_failure


class AsyncClient:
    """As `Client`, for one event loop. Files and image encoding go through threads."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        max_connections: int = 64,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`transport` and `sleep` stand in for the network and the clock, in tests."""
        self._config = Config.of(base_url, api_key, timeouts or Timeouts(), max_connections)
        self._core = Core(retry or RetryPolicy())
        self._http = httpx.AsyncClient(
            base_url=self._config.base_url,
            headers=self._config.headers(),
            timeout=self._config.timeout(),
            limits=self._config.limits(),
            transport=transport,
        )
        self._run = AsyncPerformer(self._http, sleep)

    @property
    def base_url(self) -> str:
        """The server's address."""
        return self._config.base_url

    async def info(self) -> dict[str, Any]:
        """As `Client.info`."""
        return await self._run(self._core.info())

    async def segment(
        self,
        image: ImageInput,
        query: str,
        *,
        strategy: Strategy | None = None,
        max_instances: int | None = None,
        mask_format: MaskFormat | None = None,
        max_side_pixels: int | None = None,
    ) -> Segmentation:
        """As `Client.segment`."""
        options = Options(strategy, max_instances, mask_format, max_side_pixels)
        return await self._run(self._core.segment(image, query, options))

    async def segment_queries(
        self,
        image: ImageInput,
        queries: Sequence[str],
        *,
        strategy: Strategy | None = None,
        max_instances: int | None = None,
        mask_format: MaskFormat | None = None,
        max_side_pixels: int | None = None,
    ) -> list[Segmentation]:
        """As `Client.segment_queries`."""
        options = Options(strategy, max_instances, mask_format, max_side_pixels)
        return await self._run(self._core.segment_queries(image, queries, options))

    async def refine(
        self,
        image: ImageInput,
        *,
        box: Sequence[float] | None = None,
        points: Sequence[Click] = (),
        mask: BoolMask | Mapping[str, Any] | None = None,
        prompts: Sequence[Prompt] | None = None,
        multimask: bool | None = None,
        mask_format: MaskFormat | None = None,
        max_side_pixels: int | None = None,
    ) -> Segmentation:
        """As `Client.refine`."""
        options = RefineOptions(multimask, mask_format, max_side_pixels)
        asked = the_prompts(box, points, mask, prompts)
        return await self._run(self._core.refine(image, asked, options))

    async def refine_instance(
        self,
        result: Segmentation,
        index: int = 0,
        *,
        add: Sequence[Click] = (),
        remove: Sequence[Click] = (),
        box: Sequence[float] | None = None,
    ) -> Segmentation:
        """As `Segmentation.refine`."""
        change = Change(add, remove, box)
        return await self._run(self._core.refine_instance(result, index, change))

    async def stream(
        self,
        image: ImageInput,
        query: str | Sequence[str],
        *,
        strategy: Strategy | None = None,
        max_instances: int | None = None,
        mask_format: MaskFormat | None = None,
        max_side_pixels: int | None = None,
    ) -> AsyncGenerator[StreamEvent, None]:
        """As `Client.stream`; when leaving early, close it with `contextlib.aclosing`."""
        options = Options(strategy, max_instances, mask_format, max_side_pixels)
        while True:
            opened: OpenStream = await self._run(self._core.open_stream(image, query, options))
            try:
                async with aclosing(self._events(opened)) as events:
                    async for event in events:
                        yield event
                return
            except ImageUnknownError:
                if not self._core.sends_again(opened):
                    raise
                image = opened.sent.source

    async def _events(self, opened: OpenStream) -> AsyncGenerator[StreamEvent, None]:
        try:
            async for chunk in opened.sent.response.aiter_bytes():
                for event in opened.decoder.feed(chunk):
                    yield event
        except httpx.RequestError as error:
            raise transport_failure(error, opened.request_id) from error
        finally:
            await opened.sent.response.aclose()
        opened.decoder.finish()

    async def segment_many(
        self,
        pairs: Iterable[Pair],
        *,
        concurrency: int = 8,
        output: str | os.PathLike[str] | Answers | None = None,
        progress: bool = False,
        strategy: Strategy | None = None,
        max_instances: int | None = None,
        mask_format: MaskFormat | None = None,
        max_side_pixels: int | None = None,
    ) -> AsyncGenerator[Outcome, None]:
        """As `Client.segment_many`, but leaving early cancels the requests in flight."""
        options = Options(strategy, max_instances, mask_format, max_side_pixels)
        workers = max(1, min(concurrency, self._config.max_connections))
        slots = asyncio.Semaphore(workers)
        window: deque[asyncio.Task[Outcome]] = deque()

        async def work(steps: Steps[Outcome]) -> Outcome:
            async with slots:
                return await self._run(steps)

        with BatchJob(self._core, pairs, options, output, progress) as job:
            try:
                for index, pair in enumerate(pairs):
                    window.append(asyncio.create_task(work(job.steps(index, pair))))
                    while window and (
                        window[0].done() or len(window) >= workers * WINDOW_PER_WORKER
                    ):
                        yield await window.popleft()
                while window:
                    yield await window.popleft()
            finally:
                for waiting in window:
                    waiting.cancel()
                await asyncio.gather(*window, return_exceptions=True)
            job.finish()

    async def aclose(self) -> None:
        """Close the pool's connections."""
        await self._http.aclose()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
