"""Bytes to RGB pixels, as a viewer would show them.

JPEG, PNG and WebP, told apart by their content. What is done to come to RGB:

| in the file               | becomes                                                           |
|---------------------------|-------------------------------------------------------------------|
| EXIF orientation 2 to 8   | applied; all coordinates are of the turned image                  |
| alpha, transparent colour | laid over white                                                   |
| CMYK JPEG                 | RGB; taken as inverted, Adobe's convention, as browsers do        |
| 16 bits a channel         | the high byte                                                     |
| 1 bit, greyscale, palette | RGB                                                               |
| several frames            | the first                                                         |
| colour profile            | ignored, as the models' training did                              |

The limits are checked on the header, before any pixel is decoded.
"""

import asyncio
import functools
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

from wise_serve.contract.errors import TooLarge, UnsupportedImage

T = TypeVar("T")

FORMATS: Final = ("JPEG", "PNG", "WEBP")
_DIGEST_BYTES: Final = 16
_WHITE: Final = (255, 255, 255, 255)

# Pillow's own bomb check warns through a process-wide filter and raises only far above our limit.
# `load` checks the header against the setting before it decodes, so the check is switched off.
Image.MAX_IMAGE_PIXELS = None
# A PNG's compressed texts are unpacked with its header, before the pixels are counted.
PngImagePlugin.MAX_TEXT_MEMORY = 4 << 20

_TURNS: Final = {  # EXIF 2.32, tag 0x0112
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


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
        return self.picture.width

    @property
    def height(self) -> int:
        return self.picture.height


def load(data: bytes, max_bytes: int, max_pixels: int) -> LoadedImage:
    """Decode an encoded image. Slow: call it in a thread.

    Raises TooLarge (bytes, or width x height, beyond the limits), UnsupportedImage (empty, another
    format, damaged or cut short).
    """
    if not data:
        raise UnsupportedImage("The image is empty.")
    if len(data) > max_bytes:
        raise TooLarge(f"The image has {len(data)} bytes; at most {max_bytes} are taken.")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            width, height = opened.size
            if width * height > max_pixels:
                raise TooLarge(
                    f"The image has {width} x {height} pixels; at most {max_pixels} are taken."
                )
            opened.load()
            picture = _turn(_to_rgb(opened), _orientation(opened))
    except TooLarge:
        raise
    except UnidentifiedImageError:
        raise UnsupportedImage("This is not a JPEG, PNG or WebP image.") from None
    except Exception:  # Pillow's decoders raise nearly any type on a damaged file
        raise UnsupportedImage("The image is damaged or cut short.") from None
    pixels = np.asarray(picture)
    return LoadedImage(pixels, picture, _digest(pixels))


def to_square(picture: Image.Image, side: int) -> Image.Image:
    """Resize to side x side pixels, bilinear, aspect ratio ignored, as the reasoners were trained.

    Slow: call it in a thread.
    """
    return picture.resize((side, side), Image.Resampling.BILINEAR)


def _digest(pixels: NDArray[np.uint8]) -> str:
    digest = blake3(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest(_DIGEST_BYTES)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8. Damaged EXIF data is no reason to refuse the pixels: 1."""
    try:
        exif = Image.Exif()
        exif.load(image.info.get("exif", b""))
        return int(exif.get(ExifTags.Base.Orientation, 1))
    except Exception:  # as in `load`
        return 1


def _turn(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit greyscale PNG
        return Image.fromarray(_high_byte(image)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, _WHITE)
        return Image.alpha_composite(white, layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _high_byte(image: Image.Image) -> NDArray[np.uint8]:
    values = np.asarray(image)
    high = (np.clip(values, 0, 0xFFFF) >> 8).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        high[values == transparent] = 0xFF
    return high


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
