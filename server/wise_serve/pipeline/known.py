"""Images that callers have sent, by digest, so that a further request about one needs no upload."""

import math
from collections import OrderedDict
from dataclasses import dataclass, replace

from PIL.Image import Image

from wise_serve.reasoner.strategies.images import Size, View

_ENTRY_BYTES = 1024  # approximate size of an entry without its resized image
_BYTES_PER_PIXEL = 3


@dataclass(frozen=True, slots=True)
class Shown:
    """An image as the reasoner sees it."""

    picture: Image
    view: View


@dataclass(frozen=True, slots=True)
class KnownImage:
    """An image's entry in the gateway; its embedding is in the segmenter's cache.

    width, height: as displayed, pixels. shown: as the reasoner saw it last; None until a request
    with a query brought it. callers: who has sent the image.
    """

    digest: str
    width: int
    height: int
    shown: Shown | None = None
    callers: frozenset[str] = frozenset()

    @property
    def size(self) -> Size:
        """Width, height in pixels."""
        return self.width, self.height

    @property
    def nbytes(self) -> int:
        """Its approximate memory, bytes."""
        pixels = 0 if self.shown is None else math.prod(self.shown.view.size)
        return _ENTRY_BYTES + _BYTES_PER_PIXEL * pixels


class KnownImages:
    """Entries by digest. If they exceed `limit_bytes`, the least recently used ones are evicted.

    A caller can name only an image that it has sent itself: nobody may find out, by trying a
    digest, whether another caller has sent that image.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._images: OrderedDict[str, KnownImage] = OrderedDict()
        self.used_bytes = 0

    def get(self, digest: str, caller: str) -> KnownImage | None:
        """The image, which counts as used now, if this caller has sent it."""
        known = self._images.get(digest)
        if known is None or caller not in known.callers:
            return None
        self._images.move_to_end(digest)
        return known

    def remember(self, image: KnownImage, caller: str, shown: Shown | None = None) -> None:
        """Store an image of this caller, and keep what the existing entry has."""
        before = self._images.pop(image.digest, None)
        if before is not None:
            self.used_bytes -= before.nbytes
        had = before or image  # without an entry: what the request found before it was evicted
        kept = replace(image, shown=shown or had.shown, callers=had.callers | {caller})
        self._images[kept.digest] = kept
        self.used_bytes += kept.nbytes
        while self.used_bytes > self._limit_bytes:
            _, dropped = self._images.popitem(last=False)
            self.used_bytes -= dropped.nbytes
