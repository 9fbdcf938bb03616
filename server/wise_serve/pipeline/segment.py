"""One request, start to end. Reads as the list of the design:

    image        bytes -> RGB pixels, oriented, bounded; or known    (thread pool)
    +-- reasoner     resize as it was trained, prompt, generate to </answer>
    +-- segmenter    encode the image, started at once, in parallel
    answer       text -> boxes and points in original pixels, while the text comes
    segmenter    decode each instance as soon as its box is complete
    result       instances, rationale, usage, timings

A coroutine that emits typed events, not an async generator: a deadline cannot span a generator's
yields. The plain answer is its return value; a stream passes an `emit` that sends.
"""

import asyncio
import time

from wise_serve.observe.metrics import Metrics
from wise_serve.pipeline.arrival import Arrivals
from wise_serve.pipeline.deadlines import until
from wise_serve.pipeline.events import Emit
from wise_serve.pipeline.job import Job, Scene, check_query
from wise_serve.pipeline.query import QueryRun
from wise_serve.pipeline.results import Segmentation
from wise_serve.reasoner import Reasoner
from wise_serve.reasoner.strategies import Strategy
from wise_serve.reasoner.strategies.images import view_of
from wise_serve.settings import Settings


class Pipeline:
    """The stages, bound to the two models."""

    def __init__(
        self,
        settings: Settings,
        reasoner: Reasoner,
        arrivals: Arrivals,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._reasoner = reasoner
        self._arrivals = arrivals
        self._metrics = metrics

    def check_query(self, query: str, strategy: Strategy) -> None:
        """A query never acts as markup. Raises InvalidField."""
        check_query(query, strategy, self._reasoner.special_tokens())

    async def segment(self, job: Job, emit: Emit) -> list[Segmentation]:
        """Answer every query of the job, in order.

        Raises DeadlineExceeded, UnsupportedImage, TooLarge, ImageUnknown, NotReady, Overloaded,
        ReasonerLost, SegmenterLost, InternalError. When cancelled, the generations are aborted and
        the session is closed.
        """
        async with until(job.context.deadline):
            return await self._segment(job, emit)

    async def _segment(self, job: Job, emit: Emit) -> list[Segmentation]:
        started = time.perf_counter()
        context, arrivals = job.context, self._arrivals
        arrived = await arrivals.image(context, job.image)
        context.stage = "reason"
        async with asyncio.TaskGroup() as resizing:  # while the segmenter copies the pixels
            view = view_of(job.strategy, arrived.image.size, self._reasoner.image_size)
            shown = resizing.create_task(arrivals.shown(context, arrived, view))
            opened = arrivals.session(context, arrived)
            async with opened as session, asyncio.TaskGroup() as group:
                # A lost encode or worker fails the request now, not when the text is complete.
                encode = group.create_task(arrivals.encoded(context, session))
                lost = group.create_task(session.lost())
                if arrived.loaded is None:
                    await encode  # a known image must be sent again if its embedding is gone
                image, decode_ms = arrived.image, arrived.decode_ms
                scene = Scene(job, image, await shown, session, encode, started, decode_ms, emit)
                results = await self._answer_all(scene)
                encode.cancel()  # still running only if no mask needed it
                lost.cancel()
        arrivals.remember(context, arrived, scene.shown)
        return results

    async def _answer_all(self, scene: Scene) -> list[Segmentation]:
        async with asyncio.TaskGroup() as group:
            answers = [
                group.create_task(
                    QueryRun(self._settings, self._reasoner, self._metrics, scene, index).answer()
                )
                for index in range(len(scene.job.queries))
            ]
        return [answer.result() for answer in answers]
