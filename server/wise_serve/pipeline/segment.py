"""One request, start to end. Reads as the list of the design:

    images       bytes -> RGB pixels, oriented, bounded              (thread pool)
    +-- reasoner     resize to the square, prompt, generate to </answer>
    +-- segmenter    encode the image, started at once, in parallel
    answer       text -> boxes and points in original pixels, while the text comes
    segmenter    decode each instance as soon as its box is complete
    result       instances, rationale, usage, timings

The core is a coroutine that emits typed events, not an async generator: a deadline cannot span a
generator's yields. The plain answer is its return value; a stream passes an `emit` that sends.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from PIL.Image import Image

from wise_serve.contract.errors import InvalidField, ReasonerLost
from wise_serve.contract.schemas import (
    ImageSize,
    InstanceResult,
    MaskFormat,
    ModelNames,
    SegmentResult,
    TimingMs,
)
from wise_serve.imaging import images
from wise_serve.observe.context import RequestContext, current_request
from wise_serve.observe.metrics import Metrics
from wise_serve.pipeline.deadlines import until
from wise_serve.pipeline.events import Emit, InstanceFound, MaskDone, ThinkingDelta
from wise_serve.pipeline.results import Generation, build_instance, build_result
from wise_serve.reasoner import ReasonDelta, Reasoner, ReasonRequest
from wise_serve.reasoner.answer import AnswerReader, Frame, Instance, Progress
from wise_serve.reasoner.grammar import answer_pattern
from wise_serve.reasoner.strategies import Strategy
from wise_serve.reasoner.tokens import count_tokens
from wise_serve.segmenter import ImageSession, Prompt, Segmenter, Timing
from wise_serve.settings import Settings

_Start = Callable[[Sequence[Instance]], Awaitable[None]]
_Masked = tuple[InstanceResult, float]  # and the milliseconds it took


@dataclass(frozen=True, slots=True)
class Job:
    """A checked request."""

    context: RequestContext
    image: bytes
    queries: tuple[str, ...]
    strategy: Strategy
    mask_format: MaskFormat
    max_instances: int


@dataclass(slots=True)
class _Scene:
    """What all queries of a job share once the image is decoded."""

    job: Job
    image: images.LoadedImage
    square: Image
    session: ImageSession
    encode: asyncio.Task[Timing]
    started: float
    decode_ms: float
    emit: Emit


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
        """A query never acts as markup. Raises InvalidField.

        The prompt's form of it is checked too: lower-casing can make a special token.
        """
        question = strategy.question(query)
        if not question.strip():
            raise InvalidField("The query holds nothing but punctuation.", field="query")
        for token in self._reasoner.special_tokens():
            if token in query or token in question:
                raise InvalidField(
                    f"The query holds {token!r}, which the model reads as markup; leave it out.",
                    field="query",
                )

    async def segment(self, job: Job, emit: Emit) -> list[SegmentResult]:
        """Answer every query of the job, in order.

        Raises DeadlineExceeded, UnsupportedImage, TooLarge, ReasonerLost, SegmenterLost and the
        like. When cancelled, the generations are aborted and the session is closed.
        """
        async with until(job.context.deadline):
            return await self._segment(job, emit)

    async def _segment(self, job: Job, emit: Emit) -> list[SegmentResult]:
        started = time.perf_counter()
        job.context.stage = "decode"
        limits = self._settings.max_body_bytes, self._settings.max_image_pixels
        image = await self._threads.run(images.load, job.image, *limits)
        decode_ms = self._observe("decode", _ms_since(started))
        self._metrics.image_pixels.observe(image.width * image.height)
        job.context.stage = "reason"
        async with asyncio.TaskGroup() as beside:  # resized while the segmenter takes the pixels
            square = beside.create_task(self._resize(image))
            opened = self._segmenter.open(image.pixels, image.digest, job.context.work_id)
            async with opened as session, asyncio.TaskGroup() as group:
                # A lost encode or worker fails the request now, not when the text is there.
                encode = group.create_task(self._encode(session))
                lost = group.create_task(session.lost())
                scene = _Scene(job, image, await square, session, encode, started, decode_ms, emit)
                results = await self._answer_all(scene)
                encode.cancel()  # still running only if no mask needed it
                lost.cancel()
        return results

    async def _resize(self, image: images.LoadedImage) -> Image:
        started = time.perf_counter()
        side = self._reasoner.image_size
        square = await self._threads.run(images.to_square, image.picture, side)
        self._observe("resize", _ms_since(started))
        return square

    async def _encode(self, session: ImageSession) -> Timing:
        timing = await session.encoded()
        self._observe("encode_queue", timing.queue_ms, ended_ago_ms=timing.work_ms)
        self._observe("encode", timing.work_ms)
        return timing

    async def _answer_all(self, scene: _Scene) -> list[SegmentResult]:
        async with asyncio.TaskGroup() as group:
            answers = [
                group.create_task(self._answer(scene, index, query))
                for index, query in enumerate(scene.job.queries)
            ]
        return [answer.result() for answer in answers]

    async def _answer(self, scene: _Scene, index: int, query: str) -> SegmentResult:
        """One query: generate, and decode each instance as its box completes."""
        job = scene.job
        decodes: list[asyncio.Task[_Masked]] = []
        async with asyncio.TaskGroup() as group:

            async def start(found: Sequence[Instance]) -> None:
                for instance in found[: job.max_instances - len(decodes)]:
                    number = len(decodes)
                    await scene.emit(InstanceFound(index, number, instance))
                    masking = self._mask(scene, index, number, instance)
                    decodes.append(group.create_task(masking))

            generation = await self._reason(scene, index, query, start)
            job.context.stage = "segment"
        masked = [decode.result() for decode in decodes]
        return self._result(scene, index, generation, masked)

    async def _reason(self, scene: _Scene, index: int, query: str, start: _Start) -> Generation:
        """Generate, reading the text as it comes; `start` is called with each complete instance."""
        strategy, side = scene.job.strategy, self._reasoner.image_size
        reader = AnswerReader(strategy, Frame(scene.image.width, scene.image.height, side))
        request = ReasonRequest(
            request_id=f"{scene.job.context.work_id}-{index}",
            image=scene.square,
            image_digest=scene.image.digest,
            prompt=strategy.prompt(query),
            max_tokens=self._settings.max_thinking_tokens or strategy.max_tokens,
            pattern=answer_pattern(strategy) if self._settings.structured_answers else None,
        )
        begun = time.perf_counter()
        token_ids: list[int] = []
        last: ReasonDelta | None = None
        async with aclosing(self._reasoner.stream(request)) as deltas:
            async for last in deltas:
                if not token_ids:
                    self._observe("time_to_first_token", _ms_since(begun))
                token_ids += last.token_ids
                await self._forward(scene, index, reader.feed(last.text), start)
        if last is None or last.finish_reason is None:
            raise ReasonerLost("The reasoning engine ended without an answer.")
        reason_ms = self._observe("reason", _ms_since(begun))
        answer, progress = reader.finish(last.finish_reason)
        await self._forward(scene, index, progress, start)
        counts = count_tokens(self._reasoner.token_texts(token_ids))
        return Generation(answer, counts, last.prompt_tokens, last.cached_tokens, reason_ms)

    async def _forward(self, scene: _Scene, index: int, progress: Progress, start: _Start) -> None:
        if progress.thinking:
            await scene.emit(ThinkingDelta(index, progress.thinking))
        await start(progress.instances)

    async def _mask(self, scene: _Scene, index: int, number: int, instance: Instance) -> _Masked:
        prompt = Prompt(box=instance.box, points=instance.points)
        masks, timing = await scene.session.decode([prompt])
        after_queue_ms = timing.work_ms + timing.rle_ms
        self._observe("segment_queue", timing.queue_ms, ended_ago_ms=after_queue_ms)
        self._observe("segment", timing.work_ms, ended_ago_ms=timing.rle_ms)
        self._observe("rle", timing.rle_ms)
        mask_format = scene.job.mask_format
        if mask_format == "rle":
            result = build_instance(instance, masks[0], mask_format)
        else:
            result = await self._threads.run(build_instance, instance, masks[0], mask_format)
        await scene.emit(MaskDone(index, number, result))
        return result, timing.queue_ms + timing.work_ms + timing.rle_ms

    def _result(
        self, scene: _Scene, index: int, generation: Generation, masked: Sequence[_Masked]
    ) -> SegmentResult:
        job, metrics = scene.job, self._metrics
        strategy = job.strategy.name
        many = len(job.queries) > 1
        encode_ms = _encode_ms(scene)
        if index == 0:  # all queries share the encode
            metrics.overlap_seconds.inc(min(encode_ms, generation.reason_ms) / 1000)
        result = build_result(
            f"{job.context.id}-{index}" if many else job.context.id,
            ImageSize(width=scene.image.width, height=scene.image.height),
            generation,
            [instance for instance, _ in masked],
            TimingMs(
                decode=round(scene.decode_ms, 2),
                reason=round(generation.reason_ms, 2),
                encode=round(encode_ms, 2),
                segment=round(max((ms for _, ms in masked), default=0.0), 2),
                total=round(_ms_since(scene.started), 2),
            ),
            ModelNames(
                reasoner=self._reasoner.name, segmenter=self._segmenter.name, strategy=strategy
            ),
        )
        metrics.requests.labels(strategy, result.status, "200").inc()
        metrics.instances.observe(len(masked))
        usage = generation.prompt_tokens, generation.cached_tokens
        metrics.count_tokens(strategy, generation.counts, *usage)
        return result

    def _observe(self, stage: str, ms: float, *, ended_ago_ms: float = 0.0) -> float:
        self._metrics.stage_seconds.labels(stage).observe(ms / 1000)
        current_request().trace.stage(stage, ms / 1000, ended_ago_ms / 1000)
        return ms


def _encode_ms(scene: _Scene) -> float:
    """Queue and work of the encode; 0 while it runs, which no mask waited for then."""
    if not scene.encode.done():
        return 0.0
    timing = scene.encode.result()
    return timing.queue_ms + timing.work_ms


def _ms_since(start: float) -> float:
    return (time.perf_counter() - start) * 1000
