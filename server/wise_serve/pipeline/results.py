"""Puts an answer's pieces together in the contract's form."""

from collections.abc import Sequence
from dataclasses import dataclass

from wise_serve.contract.schemas import (
    ImageSize,
    InstanceResult,
    MaskFormat,
    ModelNames,
    PngMask,
    PolygonMask,
    RleMask,
    SegmentResult,
    TimingMs,
    Usage,
)
from wise_serve.imaging import masks as mask_formats
from wise_serve.reasoner.answer import Answer, Instance
from wise_serve.reasoner.tokens import TokenCounts
from wise_serve.segmenter import Mask


@dataclass(frozen=True, slots=True)
class Generation:
    """One finished generation: the answer read from it, its tokens, its time."""

    answer: Answer
    counts: TokenCounts
    prompt_tokens: int
    cached_tokens: int
    reason_ms: float


def build_instance(instance: Instance, mask: Mask, mask_format: MaskFormat) -> InstanceResult:
    """One object. Slow for formats other than RLE: call it in a thread then."""
    return InstanceResult(
        box=instance.box,
        points=list(instance.points),
        score=round(mask.score, 4),
        area=mask.area,
        mask=_mask(mask, mask_format),
    )


def _mask(mask: Mask, mask_format: MaskFormat) -> RleMask | PngMask | PolygonMask:
    if mask_format == "png":
        return PngMask(size=mask.size, png=mask_formats.to_png(mask.size, mask.counts))
    if mask_format == "polygon":
        polygons = mask_formats.to_polygons(mask.size, mask.counts)
        return PolygonMask(size=mask.size, polygons=polygons)
    return RleMask(size=mask.size, counts=mask.counts)


def build_result(
    result_id: str,
    size: ImageSize,
    generation: Generation,
    instances: Sequence[InstanceResult],
    timing: TimingMs,
    model: ModelNames,
) -> SegmentResult:
    """The answer to one query. The generated text is shown only where it was not understood."""
    answer, counts = generation.answer, generation.counts
    return SegmentResult(
        id=result_id,
        status=answer.status,
        image=size,
        instances=list(instances),
        reasoning=answer.rationale,
        text=answer.text if answer.status in ("unparsed", "truncated") else None,
        usage=Usage(
            prompt_tokens=generation.prompt_tokens,
            cached_tokens=generation.cached_tokens,
            thinking_tokens=counts.thinking_tokens,
            answer_tokens=counts.answer_tokens,
            completion_tokens=counts.completion_tokens,
        ),
        timing_ms=timing,
        model=model,
    )
