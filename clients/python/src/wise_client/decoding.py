"""Files of any format that Pillow reads -> their header, their pixels, and a PNG of them.

JPEG, PNG and WebP are read by `displayed`, as the server reads them. The other formats are the
client's alone: they are sent as PNG.
"""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from wise_client import displayed
from wise_client.errors import InputError

# Above Pillow's own limit (179 megapixels), since the files are the caller's; 2 GB as RGB.
MOST_PIXELS: Final = 500_000_000
_PNG_COMPRESS_LEVEL: Final = 1  # zlib's fastest: the network is rarely slower than level 6
_PNG_MODES: Final = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}
_CONVERTED: Final = {
    "CMYK": "RGB", "YCbCr": "RGB", "HSV": "RGB", "RGBX": "RGB",
    "RGBa": "RGBA", "PA": "RGBA", "La": "LA",
}  # fmt: skip


@contextmanager
def told_of(name: str) -> Iterator[None]:
    """Turn whatever is raised inside into an InputError that begins with the image's name."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{name} {error.detail}") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{name} is not an image of a format known here") from error
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{name} is too large for Pillow's limit, PIL.Image.MAX_IMAGE_PIXELS; raise it, or "
            "convert the image to PNG or JPEG"
        ) from error
    except Exception as error:  # Pillow's decoders raise nearly any type on a damaged file
        raise InputError(f"{name} is damaged or incomplete: {error}") from error


def open_file(content: bytes) -> Image.Image:
    """The image with its header read; raises errors that `told_of` turns into an InputError.

    Without `Image.open`, whose limit on pixels is one for all of the caller's process.
    """
    if displayed.identify(content):
        return displayed.open_image(content)
    Image.init()
    for kind in Image.ID:
        factory, accept = Image.OPEN[kind]
        try:
            if accept is None or accept(content[:16]) is True:
                return factory(io.BytesIO(content), "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue  # as Image.open: another format may accept it
    raise UnidentifiedImageError


def orientation(picture: Image.Image) -> int:
    """EXIF orientation, 1 to 8, that remains to be applied once the pixels are decoded."""
    # Pillow turns a TIFF itself, when it decodes it.
    return 1 if picture.format == "TIFF" else displayed.orientation(picture.info)


def decode(picture: Image.Image) -> Image.Image:
    """The image itself with its pixels decoded, in one of the modes that a PNG can hold.

    Raises InputError, without the image's name, if it has too many pixels, or a mode whose range of
    values is not defined.
    """
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise InputError(
            f"has {width} x {height} pixels; at most {MOST_PIXELS:,} can be decoded here"
        )
    picture.load()
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PPM"):
        # Native byte order; a PPM of 16 bits comes as 0 to 65535 in 32 bits.
        return picture if picture.mode == "I;16" else _of_16_bits(picture)
    if picture.mode in _CONVERTED:
        return picture.convert(_CONVERTED[picture.mode])
    if picture.mode not in _PNG_MODES:
        raise InputError(
            f"is of mode {picture.mode}, whose range is not agreed; convert it to RGB or L first"
        )
    return picture


def shrink(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture as displayed, mode L or RGB, resized to `size` (width, height); not turned.

    Raises InputError as `decode` does.
    """
    if isinstance(picture, JpegImageFile):
        picture.draft(None, (2 * size[0], 2 * size[1]))  # decodes no more pixels than are needed
    flat = displayed.opaque(decode(picture))
    if flat.mode not in ("L", "RGB"):
        flat = flat.convert("L" if flat.mode == "1" else "RGB")
    return flat.resize(size, Image.Resampling.LANCZOS)


def as_png(picture: Image.Image) -> bytes:
    """The pixels, without loss and without any metadata."""
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=_PNG_COMPRESS_LEVEL, exif=b"", icc_profile=None)
    return out.getvalue()


def _of_16_bits(picture: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(picture).astype(np.uint16))
