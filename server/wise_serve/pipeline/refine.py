"""One request for the masks of given prompts, start to end:

image        bytes -> RGB pixels, oriented, bounded; or known    (thread pool)
segmenter    encode the image, unless its embedding is cached
prompts      within the image; earlier masks as SAM 2 reads them (thread pool, meanwhile)
segmenter    decode all prompts
result       a mask for each prompt, in order
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from wise_serve.contract.errors import InvalidField
from wise_serve.contract.prompts import COARSE_SIDE, Box, Prompt
from wise_serve.imaging import masks
from wise_serve.imaging.images import ImageThreads
from wise_serve.observe.context import RequestContext
from wise_serve.observe.metrics import Metrics
from wise_serve.pipeline.arrival import Arrivals, Sent
from wise_serve.pipeline.deadlines import until
from wise_serve.pipeline.known import KnownImage
from wise_serve.pipeline.measures import ms_since, observe_masks
from wise_serve.pipeline.results import Instance, Refinement, RefineTimes


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt as the caller has put it; its mask is still COCO's.

    size: height and width, pixels, of `counts`, which is compressed RLE.
    """

    prompt: Prompt
    size: tuple[int, int] = (0, 0)
    counts: str | None = None


@dataclass(frozen=True, slots=True)
class RefineJob:
    """A checked request for the masks of prompts."""

    context: RequestContext
    image: Sent
    asked: tuple[Asked, ...]


class Refiner:
    """The stages, bound to the segmenter."""

    def __init__(self, arrivals: Arrivals, threads: ImageThreads, metrics: Metrics) -> None:
        self._arrivals, self._threads, self._metrics = arrivals, threads, metrics

    async def refine(self, job: RefineJob) -> Refinement:
        """A mask for each prompt, in order.

        Raises DeadlineExceeded, UnsupportedImage, TooLarge, ImageUnknown, InvalidField, NotReady,
        Overloaded, SegmenterLost, InternalError.
        """
        async with until(job.context.deadline):
            return await self._refine(job)

    async def _refine(self, job: RefineJob) -> Refinement:
        started = time.perf_counter()
        context, arrivals = job.context, self._arrivals
        arrived = await arrivals.image(context, job.image)
        image = arrived.image
        context.stage = "segment"
        async with arrivals.session(context, arrived) as session, asyncio.TaskGroup() as group:
            encode = group.create_task(arrivals.encoded(context, session))
            lost = group.create_task(session.lost())
            prompts = await self._prompts(job.asked, image)
            found, timing = await session.decode(prompts)
            segment_ms = observe_masks(self._metrics, context, timing)
            encoded = await encode
            lost.cancel()
        arrivals.remember(context, arrived)
        times = RefineTimes(
            arrived.decode_ms, encoded.queue_ms + encoded.work_ms, segment_ms, ms_since(started)
        )
        instances = tuple(Instance(one, mask) for one, mask in zip(prompts, found, strict=True))
        self._metrics.requests.labels(context.strategy, "found", "200").inc()
        self._metrics.instances.observe(len(instances))
        return Refinement(context.id, image.width, image.height, image.digest, instances, times)

    async def _prompts(self, asked: Sequence[Asked], image: KnownImage) -> list[Prompt]:
        if all(one.counts is None for one in asked):
            return [placed(one, image) for one in asked]  # too quick for a thread
        return await self._threads.run(lambda: [placed(one, image) for one in asked])


def placed(asked: Asked, image: KnownImage) -> Prompt:
    """The prompt on its image: the box cut at the image's edges, the mask as SAM 2 reads it.

    Raises InvalidField if a part lies outside the image or has another size.
    """
    prompt, size = asked.prompt, (image.height, image.width)
    if any(not (0 <= x <= image.width and 0 <= y <= image.height) for x, y in prompt.points):
        raise _misplaced(f"a point is outside of the image of {image.width} x {image.height}")
    if prompt.box is not None:
        prompt = replace(prompt, box=_clipped(prompt.box, image))
    if asked.counts is None:
        return prompt
    if asked.size != size:
        height, width = asked.size
        raise _misplaced(
            f"a mask is {width} x {height}, the image {image.width} x {image.height} pixels"
        )
    try:
        runs = masks.read_runs(size, asked.counts)
    except ValueError as error:
        raise _misplaced(f"a mask {error}") from None
    return replace(prompt, mask=masks.coarse(size, runs, COARSE_SIDE))


def _clipped(box: Box, image: KnownImage) -> Box:
    x1, y1 = max(box[0], 0.0), max(box[1], 0.0)
    x2, y2 = min(box[2], float(image.width)), min(box[3], float(image.height))
    if x1 >= x2 or y1 >= y2:
        raise _misplaced(f"a box is outside of the image of {image.width} x {image.height}")
    return x1, y1, x2, y2


def _misplaced(what: str) -> InvalidField:
    return InvalidField(f"prompts: {what}.", field="prompts")
