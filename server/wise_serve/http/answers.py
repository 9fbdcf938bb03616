"""Results and events in the API's form (docs/api.md), masks in the format that was asked for."""

from typing import Any

from wise_serve.contract.names import MaskFormat
from wise_serve.contract.prompts import FOREGROUND, Box, Mask, Prompt
from wise_serve.contract.refining import (
    AlternativeMask,
    RefinedInstance,
    RefineResult,
    RefineTimingMs,
    SegmenterName,
)
from wise_serve.contract.schemas import (
    ImageSize,
    InstanceResult,
    ModelNames,
    PngMask,
    PolygonMask,
    RleMask,
    SegmentResult,
    TimingMs,
    Usage,
)
from wise_serve.imaging import masks
from wise_serve.imaging.images import ImageThreads
from wise_serve.pipeline.events import Event, InstanceFound, MaskDone, ThinkingDelta
from wise_serve.pipeline.results import Generation, Instance, Refinement, Segmentation, StageTimes


class Presenter:
    """Presents one request: its events while it is answered, then its results.

    A mask is converted once, when it is decoded and in parallel with everything else; the result
    reuses what its event made. The request's pipeline must have passed its events through `event`.
    """

    def __init__(
        self, mask_format: MaskFormat, threads: ImageThreads, reasoner: str, segmenter: str
    ) -> None:
        self._mask_format, self._threads = mask_format, threads
        self._reasoner, self._segmenter = reasoner, segmenter
        # By prompt, not by index: a later answer may remove an earlier object.
        self._instances: dict[tuple[int, Prompt], InstanceResult] = {}

    async def event(self, event: Event) -> dict[str, Any]:
        """The event's data, as a stream sends it."""
        match event:
            case ThinkingDelta(query, text):
                return {"query_index": query, "text": text}
            case InstanceFound(query, index, prompt):
                return {"query_index": query, "index": index, **_place(prompt)}
            case MaskDone(query, index, instance):
                result = await self._instance(instance)
                self._instances[query, instance.prompt] = result
                return {"query_index": query, "index": index, **result.model_dump()}

    def result(self, query: int, result: Segmentation) -> SegmentResult:
        """One query's result. The generated text is included only if it could not be parsed."""
        generation, answer = result.generation, result.generation.answer
        shown = answer.status in ("unparsed", "truncated")
        return SegmentResult(
            id=result.id,
            status=answer.status,
            image=ImageSize(width=result.width, height=result.height),
            image_digest=result.image_digest,
            instances=[self._instances[query, instance.prompt] for instance in result.instances],
            reasoning=answer.rationale,
            text=answer.text if shown else None,
            usage=_usage(generation),
            timing_ms=_timing(result.times),
            model=ModelNames(
                reasoner=self._reasoner, segmenter=self._segmenter, strategy=result.strategy
            ),
        )

    async def _instance(self, instance: Instance) -> InstanceResult:
        shown = await shown_mask(instance.mask, self._mask_format, self._threads)
        place = _place(instance.prompt)
        place["box"] = _box(instance.prompt, instance.mask)
        return InstanceResult(**place, **shown)


async def refine_result(
    result: Refinement, mask_format: MaskFormat, threads: ImageThreads, segmenter: str
) -> RefineResult:
    """A refinement in the API's form."""
    instances = []
    for prompt, mask in ((one.prompt, one.mask) for one in result.instances):
        others = [await shown_mask(other, mask_format, threads) for other in mask.alternatives]
        instances.append(
            RefinedInstance(
                box=_box(prompt, mask),
                points=list(prompt.points),
                labels=list(prompt.labels),
                alternatives=[AlternativeMask(**other) for other in others],
                **await shown_mask(mask, mask_format, threads),
            )
        )
    times = result.times
    return RefineResult(
        id=result.id,
        image=ImageSize(width=result.width, height=result.height),
        image_digest=result.image_digest,
        instances=instances,
        timing_ms=RefineTimingMs(
            decode=round(times.decode_ms, 2),
            encode=round(times.encode_ms, 2),
            segment=round(times.segment_ms, 2),
            total=round(times.total_ms, 2),
        ),
        model=SegmenterName(segmenter=segmenter),
    )


async def shown_mask(mask: Mask, mask_format: MaskFormat, threads: ImageThreads) -> dict[str, Any]:
    """The fields that every mask has in an answer."""
    if mask_format == "rle":
        shown: RleMask | PngMask | PolygonMask = RleMask(size=mask.size, counts=mask.counts)
    else:
        shown = await threads.run(_converted, mask, mask_format)
    return {"score": round(mask.score, 4), "area": mask.area, "mask": shown}


def _place(prompt: Prompt) -> dict[str, Any]:
    labels = prompt.labels or (FOREGROUND,) * len(prompt.points)
    return {"box": prompt.box, "points": prompt.points, "labels": labels}


def _box(prompt: Prompt, mask: Mask) -> Box:
    """The prompt's box, or the mask's own for a prompt without one: every answer has a box."""
    return prompt.box or masks.bounds(mask.size, mask.counts)


def _converted(mask: Mask, mask_format: MaskFormat) -> PngMask | PolygonMask:
    """Slow for a large mask: called in a thread."""
    if mask_format == "png":
        return PngMask(size=mask.size, png=masks.to_png(mask.size, mask.counts))
    return PolygonMask(size=mask.size, polygons=masks.to_polygons(mask.size, mask.counts))


def _usage(generation: Generation) -> Usage:
    counts = generation.counts
    return Usage(
        prompt_tokens=generation.prompt_tokens,
        cached_tokens=generation.cached_tokens,
        thinking_tokens=counts.thinking_tokens,
        answer_tokens=counts.answer_tokens,
        completion_tokens=counts.completion_tokens,
    )


def _timing(times: StageTimes) -> TimingMs:
    return TimingMs(
        decode=round(times.decode_ms, 2),
        reason=round(times.reason_ms, 2),
        encode=round(times.encode_ms, 2),
        segment=round(times.segment_ms, 2),
        total=round(times.total_ms, 2),
    )
