"""One query of a request: reads the reasoner's text while it comes, and decodes the masks."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing

from wise_serve.contract.errors import ReasonerLost
from wise_serve.contract.prompts import Prompt
from wise_serve.observe.metrics import Metrics
from wise_serve.pipeline.events import InstanceFound, MaskDone, ThinkingDelta
from wise_serve.pipeline.job import Scene
from wise_serve.pipeline.measures import ms_since, observe, observe_masks
from wise_serve.pipeline.results import Generation, Instance, Segmentation, StageTimes
from wise_serve.reasoner import ReasonDelta, Reasoner, ReasonRequest
from wise_serve.reasoner.answer import AnswerReader, Frame, Progress
from wise_serve.reasoner.grammar import answer_pattern
from wise_serve.reasoner.strategies.images import frame_size
from wise_serve.reasoner.tokens import count_tokens
from wise_serve.settings import Settings

_Start = Callable[[Sequence[Prompt]], Awaitable[None]]
_Masked = tuple[Instance, float]  # and the milliseconds it took


class QueryRun:
    """Answers query number `index` of a scene, once."""

    def __init__(
        self, settings: Settings, reasoner: Reasoner, metrics: Metrics, scene: Scene, index: int
    ) -> None:
        self._settings, self._reasoner, self._metrics = settings, reasoner, metrics
        self._scene, self._index = scene, index
        self._context = scene.job.context

    async def answer(self) -> Segmentation:
        """Generate, and decode each object's mask as soon as its prompt is complete in the text."""
        limit = self._scene.job.max_instances
        decodes: dict[Prompt, asyncio.Task[_Masked]] = {}
        async with asyncio.TaskGroup() as group:

            async def start(found: Sequence[Prompt], most: int = limit) -> None:
                for prompt in found:
                    number = len(decodes)
                    if prompt not in decodes and number < most:
                        await self._scene.emit(InstanceFound(self._index, number, prompt))
                        decodes[prompt] = group.create_task(self._mask(number, prompt))

            generation = await self._reason(start)
            self._context.stage = "segment"
            # A second answer in the text replaces the first one, whose objects count no more.
            counted = generation.answer.instances[:limit]
            await start(counted, most=2 * limit)
        return self._result(generation, [decodes[prompt].result() for prompt in counted])

    async def _reason(self, start: _Start) -> Generation:
        """Generate, reading the text as it comes; `start` is called with each complete prompt."""
        request, reader = self._request(), self._reader()
        begun = time.perf_counter()
        token_ids: list[int] = []
        last: ReasonDelta | None = None
        async with aclosing(self._reasoner.stream(request)) as deltas:
            async for last in deltas:
                if not token_ids:
                    observe(self._metrics, self._context, "time_to_first_token", ms_since(begun))
                token_ids += last.token_ids
                await self._forward(reader.feed(last.text), start)
        if last is None or last.finish_reason is None:
            raise ReasonerLost("The reasoning engine ended without an answer.")
        reason_ms = observe(self._metrics, self._context, "reason", ms_since(begun))
        answer, progress = reader.finish(last.finish_reason)
        await self._forward(progress, start)
        token_texts = self._reasoner.token_texts(token_ids)
        counts = count_tokens(token_texts, self._scene.job.strategy, last.finish_reason)
        return Generation(answer, counts, last.prompt_tokens, last.cached_tokens, reason_ms)

    def _request(self) -> ReasonRequest:
        job, strategy = self._scene.job, self._scene.job.strategy
        return ReasonRequest(
            request_id=f"{self._context.work_id}-{self._index}",
            image=self._scene.shown.picture,
            image_digest=f"{self._scene.image.digest}-{self._scene.shown.view.name}",
            prompt=strategy.prompt(job.queries[self._index]),
            system=strategy.turn.system,
            lora=strategy.lora,
            max_tokens=self._settings.max_thinking_tokens or strategy.max_tokens,
            pattern=answer_pattern(strategy) if self._settings.structured_answers else None,
        )

    def _reader(self) -> AnswerReader:
        image, strategy = self._scene.image, self._scene.job.strategy
        ranges = frame_size(strategy, self._scene.shown.view.size)
        return AnswerReader(strategy, Frame(image.width, image.height, *ranges))

    async def _forward(self, progress: Progress, start: _Start) -> None:
        if progress.thinking:
            await self._scene.emit(ThinkingDelta(self._index, progress.thinking))
        await start(progress.instances)

    async def _mask(self, number: int, prompt: Prompt) -> _Masked:
        masks, timing = await self._scene.session.decode([prompt])
        took_ms = observe_masks(self._metrics, self._context, timing)
        instance = Instance(prompt, masks[0])
        await self._scene.emit(MaskDone(self._index, number, instance))
        return instance, took_ms

    def _result(self, generation: Generation, masked: Sequence[_Masked]) -> Segmentation:
        scene, job, metrics = self._scene, self._scene.job, self._metrics
        encode_ms = self._encode_ms()
        if self._index == 0:  # all queries share the encode
            metrics.overlap_seconds.inc(min(encode_ms, generation.reason_ms) / 1000)
        result = Segmentation(
            id=f"{job.context.id}-{self._index}" if len(job.queries) > 1 else job.context.id,
            strategy=job.strategy.name,
            width=scene.image.width,
            height=scene.image.height,
            image_digest=scene.image.digest,
            generation=generation,
            instances=tuple(instance for instance, _ in masked),
            times=StageTimes(
                decode_ms=scene.decode_ms,
                reason_ms=generation.reason_ms,
                encode_ms=encode_ms,
                segment_ms=max((ms for _, ms in masked), default=0.0),
                total_ms=ms_since(scene.started),
            ),
        )
        metrics.requests.labels(result.strategy, result.status, "200").inc()
        metrics.instances.observe(len(masked))
        metrics.count_tokens(
            result.strategy,
            thinking_tokens=generation.counts.thinking_tokens,
            answer_tokens=generation.counts.answer_tokens,
            completion_tokens=generation.counts.completion_tokens,
            prompt_tokens=generation.prompt_tokens,
            cached_tokens=generation.cached_tokens,
        )
        return result

    def _encode_ms(self) -> float:
        """Queue and work of the encode; 0 if it still runs, since no mask needed it then."""
        if not self._scene.encode.done():
            return 0.0
        timing = self._scene.encode.result()
        return timing.queue_ms + timing.work_ms
