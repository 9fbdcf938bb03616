"""Bytes to RGB pixels, as a viewer displays them, within the server's limits.

`displayed.py` decodes. This module adds the limits, which are checked on the header before any
pixel is decoded, the digest, and the threads in which images are decoded.
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

MAX_SIDE_PIXELS: Final = 65_535  # as in JPEG; some of the segmenter's memory grows with a side
_DIGEST_BYTES: Final = 16

# Pillow's own limit is off: below twice its value it only warns, through a process-wide filter.
# `load` checks the header against the server's own limit before it decodes.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """An image as displayed.

    pixels: H x W x 3, RGB, uint8. picture: the same, for resizing. digest: of the pixels, hex.
    """

    pixels: NDArray[np.uint8]
    picture: Image.Image
    digest: str

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.picture.width

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.picture.height


def load(data: bytes, max_bytes: int, max_pixels: int) -> LoadedImage:
    """Decode an encoded image. Slow: call it in a thread.

    Raises TooLarge if the bytes, width x height, or a side are above the limits. Raises
    UnsupportedImage if the data is empty, in another format, damaged or cut off.
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
            if max(width, height) > MAX_SIDE_PIXELS:
                raise TooLarge(
                    f"The image has {width} x {height} pixels; at most {MAX_SIDE_PIXELS} pixels "
                    "a side are accepted."
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
        raise UnsupportedImage("The image is damaged or incomplete.") from None
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

    At most `threads` calls run at once. Admission bounds the calls that wait: each belongs to an
    admitted request.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="image")

    async def run(self, call: Callable[..., T], *args: object) -> T:
        """Run `call(*args)` in the pool and return its result.

        If it is cancelled before the call has started, the arguments are released at once. The
        pool itself would keep them until a thread is free.
        """
        waiting = [functools.partial(call, *args)]
        del args
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, lambda: waiting.pop()())
        finally:
            waiting.clear()

    def close(self) -> None:
        """Drop the calls that wait; those that run end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)
