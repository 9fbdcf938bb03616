"""Images that the server has: a further request contains the digest of one instead of its bytes."""

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from wise_client.inputs import Source, content_of, pixels_of
from wise_client.parts import Frame

MOST_IMAGES = 1024


@dataclass(frozen=True)
class Known:
    """What the server calls an image, and the sizes that it was sent in."""

    digest: str
    frame: Frame


class KnownImages:
    """Images by fingerprint; beyond MOST_IMAGES the least recently used ones are dropped."""

    def __init__(self) -> None:
        self._images: OrderedDict[str, Known] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> Known | None:
        """The image of this fingerprint, now the most recently used; None if it is not known."""
        with self._lock:
            if key in self._images:
                self._images.move_to_end(key)
            return self._images.get(key)

    def put(self, key: str, known: Known) -> None:
        """Add an image; if there are too many, the least recently used one is dropped."""
        with self._lock:
            self._images[key] = known
            self._images.move_to_end(key)
            if len(self._images) > MOST_IMAGES:
                self._images.popitem(last=False)

    def forget(self, key: str) -> None:
        """Drop an image that the server no longer knows; nothing happens where there is none."""
        with self._lock:
            self._images.pop(key, None)


def fingerprint(source: Source, max_side_pixels: int | None) -> str:
    """A name for the bytes that would be sent for this image: for a file that is sent unchanged,
    its SHA-256.

    Raises InputError when it cannot be read.
    """
    digest = hashlib.sha256()
    if isinstance(source, Path | bytes):
        digest.update(content_of(source))
    else:
        digest.update(type(source).__name__.encode())
        pixels = pixels_of(source)
        mode = getattr(source, "mode", "")
        palette = source.getpalette() if mode in ("P", "PA") else None  # type: ignore[union-attr]
        digest.update(f"{pixels.shape}{pixels.dtype}{mode}{palette}".encode())
        digest.update(pixels.data)
    if max_side_pixels is not None:
        digest.update(f"{max_side_pixels}".encode())
    return digest.hexdigest()
