"""The image of a request: sent with it, or known from an earlier one."""

import time
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from wise_serve.contract.errors import ImageUnknown
from wise_serve.imaging import images
from wise_serve.observe.context import RequestContext
from wise_serve.observe.metrics import Metrics
from wise_serve.pipeline.known import KnownImage, KnownImages, Shown
from wise_serve.pipeline.measures import ms_since, observe
from wise_serve.reasoner.strategies.images import View
from wise_serve.segmenter import ImageSession, Segmenter, Timing
from wise_serve.settings import Settings


@dataclass(frozen=True, slots=True)
class Sent:
    """How a request names its image: the encoded file, or the digest of one that was sent before.

    Exactly one of the two.
    """

    file: bytes | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Arrived:
    """An image that can be worked on. loaded: its pixels, if the request brought them."""

    image: KnownImage
    loaded: images.LoadedImage | None = None
    decode_ms: float = 0.0


class Arrivals:
    """What both pipelines, segment and refine, do with an image."""

    def __init__(
        self,
        settings: Settings,
        segmenter: Segmenter,
        threads: images.ImageThreads,
        metrics: Metrics,
    ) -> None:
        self._settings, self._segmenter = settings, segmenter
        self._threads, self._metrics = threads, metrics
        self._known = KnownImages(settings.known_images_bytes)

    async def image(self, context: RequestContext, sent: Sent) -> Arrived:
        """Decode the file, or find the image. Raises UnsupportedImage, TooLarge, ImageUnknown."""
        context.stage = "decode"
        if sent.digest is not None:
            return self._find(sent.digest, context.caller)
        started = time.perf_counter()
        limits = self._settings.max_body_bytes, self._settings.max_image_pixels
        loaded = await self._threads.run(images.load, sent.file, *limits)
        decode_ms = observe(self._metrics, context, "decode", ms_since(started))
        self._metrics.image_pixels.observe(loaded.width * loaded.height)
        return Arrived(KnownImage(loaded.digest, loaded.width, loaded.height), loaded, decode_ms)

    def session(
        self, context: RequestContext, arrived: Arrived
    ) -> AbstractAsyncContextManager[ImageSession]:
        """The image at the segmenter, its encode started unless its embedding is there."""
        image, loaded = arrived.image, arrived.loaded
        if loaded is not None:
            return self._segmenter.open(loaded.pixels, image.digest, context.work_id)
        return self._segmenter.reopen((image.height, image.width), image.digest, context.work_id)

    async def encoded(self, context: RequestContext, session: ImageSession) -> Timing:
        """Wait for the embedding."""
        timing = await session.encoded()
        queued_ms, work_ms = timing.queue_ms, timing.work_ms
        observe(self._metrics, context, "encode_queue", queued_ms, ended_ago_ms=work_ms)
        observe(self._metrics, context, "encode", work_ms)
        return timing

    async def shown(self, context: RequestContext, arrived: Arrived, view: View) -> Shown:
        """The image as the reasoner sees it. Raises ImageUnknown if it was not resized so before:
        a known image is kept as one strategy showed it, not as it was sent."""
        if arrived.loaded is None:
            known = arrived.image.shown
            if known is None or known.view != view:
                raise ImageUnknown("No such query was asked about this image yet; send the image.")
            return known
        started = time.perf_counter()
        picture = arrived.loaded.picture
        resized = await self._threads.run(images.resized, picture, view.size, view.smooth)
        observe(self._metrics, context, "resize", ms_since(started))
        return Shown(resized, view)

    def remember(
        self, context: RequestContext, arrived: Arrived, shown: Shown | None = None
    ) -> None:
        """Let this caller's next request name the image by its digest."""
        self._known.remember(arrived.image, context.caller, shown)

    def _find(self, digest: str, caller: str) -> Arrived:
        known = self._known.get(digest, caller)
        self._metrics.known_images.labels("unknown" if known is None else "known").inc()
        if known is None:
            raise ImageUnknown(
                "The server does not have an image with this digest; send the image."
            )
        return Arrived(known)
