"""One request, start to end. Reads as the list of the design:

    images       bytes -> RGB pixels, oriented, bounded              (thread pool)
    +-- reasoner     resize to the square, prompt, generate to </answer>
    +-- segmenter    encode the image, started at once, in parallel
    answer       text -> boxes and points in original pixels, while the text comes
    segmenter    decode each instance as soon as its box is complete
    result       instances, rationale, usage, timings

A coroutine that emits typed events, not an async generator: a deadline cannot span a generator's
yields. The plain answer is its return value; a stream passes an `emit` that sends.
"""

import asyncio
import time

from PIL.Image import Image

from wise_serve.imaging import images
from wise_serve.observe.context import RequestContext
from wise_serve.observe.metrics import Metrics
from wise_serve.pipeline.deadlines import until
from wise_serve.pipeline.events import Emit
from wise_serve.pipeline.job import Job, Scene, check_query
from wise_serve.pipeline.query import QueryRun, ms_since, observe
from wise_serve.pipeline.results import Segmentation
from wise_serve.reasoner import Reasoner
from wise_serve.reasoner.strategies import Strategy
from wise_serve.segmenter import ImageSession, Segmenter, Timing
from wise_serve.settings import Settings


class Pipeline:
    """The stages, bound to the two models."""

    def __init__(
        self,
        settings: Settings,
        reasoner: Reasoner,
        segmenter: Segmenter,
        threads: images.ImageThreads,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._reasoner = reasoner
        self._segmenter = segmenter
        self._threads = threads
        self._metrics = metrics

    def check_query(self, query: str, strategy: Strategy) -> None:
        """A query never acts as markup. Raises InvalidField."""
        check_query(query, strategy, self._reasoner.special_tokens())

    async def segment(self, job: Job, emit: Emit) -> list[Segmentation]:
        """Answer every query of the job, in order.

        Raises DeadlineExceeded, UnsupportedImage, TooLarge, NotReady, Overloaded, ReasonerLost,
        SegmenterLost, InternalError. When cancelled, the generations are aborted and the session
        is closed.
        """
        async with until(job.context.deadline):
            return await self._segment(job, emit)

    async def _segment(self, job: Job, emit: Emit) -> list[Segmentation]:
        started = time.perf_counter()
        image = await self._decode(job)
        decode_ms = observe(self._metrics, job.context, "decode", ms_since(started))
        job.context.stage = "reason"
        async with asyncio.TaskGroup() as resizing:  # while the segmenter copies the pixels
            square = resizing.create_task(self._resize(job.context, image))
            opened = self._segmenter.open(image.pixels, image.digest, job.context.work_id)
            async with opened as session, asyncio.TaskGroup() as group:
                # A lost encode or worker fails the request now, not when the text is complete.
                encode = group.create_task(self._encode(job.context, session))
                lost = group.create_task(session.lost())
                scene = Scene(job, image, await square, session, encode, started, decode_ms, emit)
                results = await self._answer_all(scene)
                encode.cancel()  # still running only if no mask needed it
                lost.cancel()
        return results

    async def _decode(self, job: Job) -> images.LoadedImage:
        job.context.stage = "decode"
        limits = self._settings.max_body_bytes, self._settings.max_image_pixels
        image = await self._threads.run(images.load, job.image, *limits)
        self._metrics.image_pixels.observe(image.width * image.height)
        return image

    async def _resize(self, context: RequestContext, image: images.LoadedImage) -> Image:
        started = time.perf_counter()
        side = self._reasoner.image_size
        square = await self._threads.run(images.to_square, image.picture, side)
        observe(self._metrics, context, "resize", ms_since(started))
        return square

    async def _encode(self, context: RequestContext, session: ImageSession) -> Timing:
        timing = await session.encoded()
        queued_ms, work_ms = timing.queue_ms, timing.work_ms
        observe(self._metrics, context, "encode_queue", queued_ms, ended_ago_ms=work_ms)
        observe(self._metrics, context, "encode", work_ms)
        return timing

    async def _answer_all(self, scene: Scene) -> list[Segmentation]:
        async with asyncio.TaskGroup() as group:
            answers = [
                group.create_task(
                    QueryRun(self._settings, self._reasoner, self._metrics, scene, index).answer()
                )
                for index in range(len(scene.job.queries))
            ]
        return [answer.result() for answer in answers]
