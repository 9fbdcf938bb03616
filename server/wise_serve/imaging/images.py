"""Bytes to RGB pixels, as a viewer displays them, within the server's limits.

`displayed` holds the rule; here are the limits, which are checked on the header before any pixel
is decoded, the digest, and the threads that this work runs in.
"""

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from wise_serve.contract.errors import TooLarge, UnsupportedImage
from wise_serve.imaging import displayed

T = TypeVar("T")

_DIGEST_BYTES: Final = 16

# Pillow's own check against bombs warns through a process-wide filter, and raises only far above
# our limit. `load` checks the header against the setting before it decodes, so it is switched off.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """An image as displayed.

    pixels: H x W x 3, RGB, uint8. picture: the same, for resizing. digest: hex, names the pixels.
    """

    pixels: NDArray[np.uint8]
    picture: Image.Image
    digest: str

    @property
    def width(self) -> int:
        """Pixels."""
        return self.picture.width

    @property
    def height(self) -> int:
        """Pixels."""
        return self.picture.height


def load(data: bytes, max_bytes: int, max_pixels: int) -> LoadedImage:
    """Decode an encoded image. Slow: call it in a thread.

    Raises TooLarge (bytes, or width x height, beyond the limits), UnsupportedImage (empty, another
    format, damaged or cut short).
    """
    if not data:
        raise UnsupportedImage("The image is empty.")
    if len(data) > max_bytes:
        raise TooLarge(f"The image has {len(data)} bytes; at most {max_bytes} are accepted.")
    try:
        with displayed.open_image(data) as opened:
            width, height = opened.size
            if width * height > max_pixels:
                raise TooLarge(
                    f"The image has {width} x {height} pixels; at most {max_pixels} are accepted."
                )
            opened.load()
            picture = displayed.upright(
                displayed.to_rgb(opened), displayed.orientation(opened.info)
            )
    except TooLarge:
        raise
    except UnidentifiedImageError:
        raise UnsupportedImage("This is not a JPEG, PNG or WebP image.") from None
    except Exception:  # Pillow's decoders raise nearly any type on a damaged file
        raise UnsupportedImage("The image is damaged or cut short.") from None
    pixels = np.asarray(picture)
    return LoadedImage(pixels, picture, _digest(pixels))


def resized(picture: Image.Image, size: tuple[int, int], smooth: bool = False) -> Image.Image:
    """Resize to width x height pixels, bilinear, or bicubic if `smooth`.

    Slow: call it in a thread.
    """
    filter_ = Image.Resampling.BICUBIC if smooth else Image.Resampling.BILINEAR
    return picture.resize(size, filter_)


def _digest(pixels: NDArray[np.uint8]) -> str:
    digest = blake3(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest(_DIGEST_BYTES)


class ImageThreads:
    """A bounded pool for work on pixels, off the event loop.

    At most `threads` calls run; those waiting are bounded by admission, since every call belongs to
    an admitted request that awaits it.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="image")

    async def run(self, call: Callable[..., T], *args: object) -> T:
        """`call(*args)` in the pool.

        When cancelled before it has begun, it lets go of the arguments at once; the pool itself
        would keep them until a thread comes by.
        """
        waiting = [functools.partial(call, *args)]
        del args
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, lambda: waiting.pop()())
        finally:
            waiting.clear()

    def close(self) -> None:
        """Drop what waits; let what runs end by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)
