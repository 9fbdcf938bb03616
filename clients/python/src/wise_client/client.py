"""The synchronous client."""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
from wise_client.performing import Performer
from wise_client.prompts import Change, Click, Prompt, the_prompts
from wise_client.requests import MaskFormat, Options, RefineOptions, Strategy
from wise_client.results import Segmentation
from wise_client.retry import RetryPolicy
from wise_client.steps import transport_failure


class Client:
    """A connection pool to one wise-serve. Safe for use by several threads.

    `base_url` falls back to `WISE_URL`, then to http://127.0.0.1:8000; `api_key` to
    `WISE_API_KEY`. Use it as a context manager, or `close()` it.

    Every method raises the errors of `wise_client.errors`; the table in `wise_client.retry` says
    what is sent again after a failure, and what is not.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        max_connections: int = 64,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        """`transport` and `sleep` stand in for the network and the clock, in tests."""
        self._config = Config.of(base_url, api_key, timeouts or Timeouts(), max_connections)
        self._core = Core(retry or RetryPolicy(), client=self)
        self._http = httpx.Client(
            base_url=self._config.base_url,
            headers=self._config.headers(),
            timeout=self._config.timeout(),
            limits=self._config.limits(),
            transport=transport,
        )
        self._run = Performer(self._http, sleep)

    @property
    def base_url(self) -> str:
        """The server's address."""
        return self._config.base_url

    def info(self) -> dict[str, Any]:
        """The server's models, default strategy, limits and versions."""
        return self._run(self._core.info())

    def segment(
        self,
        image: ImageInput,
        query: str,
        *,
        strategy: Strategy | None = None,
        max_instances: int | None = None,
        mask_format: MaskFormat | None = None,
        max_side_pixels: int | None = None,
    ) -> Segmentation:
        """Ask one question of one image.

        `image`: path, bytes, binary file, PIL image, or uint8 array HxW, HxWx3 (RGB) or HxWx4
        (RGBA). `max_side_pixels` shrinks larger images before they are sent; the answer's
        coordinates and masks are mapped back to the original size. The other options are those of
        the API; None leaves them to the server.
        """
        options = Options(strategy, max_instances, mask_format, max_side_pixels)
        return self._run(self._core.segment(image, query, options))

    def segment_queries(
        self,
        image: ImageInput,
        queries: Sequence[str],
        *,
        strategy: Strategy | None = None,
        max_instances: int | None = None,
        mask_format: MaskFormat | None = None,
        max_side_pixels: int | None = None,
    ) -> list[Segmentation]:
        """Ask several questions of one image, in one request; the answers are in their order.

        The image is decoded and encoded once for all. Options as in `segment`.
        """
        options = Options(strategy, max_instances, mask_format, max_side_pixels)
        return self._run(self._core.segment_queries(image, queries, options))

    def refine(
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
        """Masks for boxes, points and earlier masks, without a query.

        One prompt as `box`, `points` and `mask`, or several as `prompts` (see `Prompt`); the
        answer's instances are in their order. `multimask`: True for all of SAM 2's three masks,
        the others in `Instance.alternatives`; False for its single mask; None for the best of the
        three if a single point is given, otherwise the single mask. An image that the server has is
        not sent again.
        """
        options = RefineOptions(multimask, mask_format, max_side_pixels)
        asked = the_prompts(box, points, mask, prompts)
        return self._run(self._core.refine(image, asked, options))

    def refine_instance(
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
        return self._run(self._core.refine_instance(result, index, change))

    def stream(
        self,
        image: ImageInput,
        query: str | Sequence[str],
        *,
        strategy: Strategy | None = None,
        max_instances: int | None = None,
        mask_format: MaskFormat | None = None,
        max_side_pixels: int | None = None,
    ) -> Generator[StreamEvent, None, None]:
        """The answer as it comes: ThinkingDelta, InstanceFound, MaskReady, and Done at the end.

        Nothing is sent before the first event is asked for. Leaving the loop early and closing
        the generator (`contextlib.closing`) ends the request at the server too. A stream that
        breaks raises, and is not sent again, except with an image that the server has evicted.
        Options as in `segment`.
        """
        options = Options(strategy, max_instances, mask_format, max_side_pixels)
        while True:
            opened: OpenStream = self._run(self._core.open_stream(image, query, options))
            try:
                yield from self._events(opened)
                return
            except ImageUnknownError:
                if not self._core.sends_again(opened):
                    raise
                image = opened.sent.source

    def _events(self, opened: OpenStream) -> Generator[StreamEvent, None, None]:
        try:
            for chunk in opened.sent.response.iter_bytes():
                yield from opened.decoder.feed(chunk)
        except httpx.RequestError as error:
            raise transport_failure(error, opened.request_id) from error
        finally:
            opened.sent.response.close()
        opened.decoder.finish()

    def segment_many(
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
    ) -> Generator[Outcome, None, None]:
        """Ask about many (image, query) pairs, `concurrency` at once; outcomes in their order.

        A pair that fails is an Outcome with an `error`; the others continue. `pairs` is read as far
        as is needed. With `output`, every answer is appended to that JSONL file as it comes (see
        `wise_client.answers`), and a later run on the same pairs reads those answers from it:
        only failed and missing pairs are sent. Leaving early waits for the requests in flight,
        so that their answers are kept, but sends none of them again. Options as in `segment`.

        Raises InputError when `output` is not the output of these pairs.
        """
        options = Options(strategy, max_instances, mask_format, max_side_pixels)
        workers = max(1, min(concurrency, self._config.max_connections))
        window: deque[Future[Outcome]] = deque()
        leaving = threading.Event()
        with (
            BatchJob(self._core, pairs, options, output, progress) as job,
            ThreadPoolExecutor(workers, "wise-client") as pool,
        ):
            try:
                for index, pair in enumerate(pairs):
                    window.append(pool.submit(self._run, job.steps(index, pair), leaving))
                    while window and (
                        window[0].done() or len(window) >= workers * WINDOW_PER_WORKER
                    ):
                        yield window.popleft().result()
                while window:
                    yield window.popleft().result()
            finally:
                leaving.set()
                for waiting in window:
                    waiting.cancel()
            job.finish()

    def close(self) -> None:
        """Close the pool's connections."""
        self._http.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
