"""Images a caller holds -> the bytes that are sent, and back to pixels for the overlay.

JPEG, PNG and WebP bytes are sent as they are; everything else is encoded as PNG, without loss.
Coordinates and masks are in pixels of the image as it is displayed: for files and bytes the EXIF
orientation counts; for a PIL image or an array it is the pixels as they are held.
"""

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from wise_client.errors import InputError

ImageInput: TypeAlias = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | BinaryIO
    | Image.Image
    | npt.NDArray[np.uint8]
)
# What can be kept and opened again later: a path stays a path, so that results stay small.
Source: TypeAlias = Path | bytes | Image.Image | npt.NDArray[np.uint8]

_SENT_AS_IS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
_PNG_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}
_RGB_MODES = {"CMYK", "YCbCr", "HSV", "LAB", "RGBX", "RGBa", "PA", "La"}
_EXIF_ORIENTATION = 0x0112
_PNG_COMPRESS_LEVEL = 1  # zlib's fastest: the network is rarely slower than level 6


@dataclass(frozen=True, repr=False)
class PreparedImage:
    """An image ready to be sent. Sizes are (width, height) in pixels, as displayed."""

    content: bytes
    content_type: str
    filename: str
    sent_size: tuple[int, int]
    original_size: tuple[int, int]
    source: Source


def keep(image: ImageInput) -> Source:
    """The image in a form that can be read more than once; reads file objects to their end."""
    if isinstance(image, Image.Image | np.ndarray):
        return image
    if isinstance(image, str | os.PathLike):
        return Path(image)
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if hasattr(image, "read"):
        content = image.read()
        if isinstance(content, bytes):
            return content
        raise InputError("The file object gives text; open the image in binary mode, 'rb'")
    raise InputError(
        f"An image is a path, bytes, a binary file, a PIL image or a numpy array, "
        f"not {type(image).__name__}"
    )


def prepare(image: ImageInput, max_side_pixels: int | None = None) -> PreparedImage:
    """Encode `image` for sending; with `max_side_pixels`, no side is sent longer than that.

    Raises InputError when the image cannot be read.
    """
    if max_side_pixels is not None and max_side_pixels < 1:
        raise InputError(f"max_side_pixels must be at least 1, not {max_side_pixels}")
    source = keep(image)
    content = _content(source)
    with _opened(source, content) as picture:
        size = _displayed_size(picture) if content is not None else picture.size
        sent_size = _bounded(size, max_side_pixels)
        content_type = _SENT_AS_IS.get(picture.format or "")
        if content is not None and content_type and sent_size == size:
            name = f"image.{(picture.format or '').lower()}"
            return PreparedImage(content, content_type, name, size, size, source)
        png = _as_png(picture, sent_size, source)
    return PreparedImage(png, "image/png", "image.png", sent_size, size, source)


def load_rgb(source: Source) -> Image.Image:
    """The source's pixels as displayed, RGB; raises InputError when they cannot be read."""
    content = _content(source)
    with _opened(source, content) as picture:
        try:
            return _upright(picture, source).convert("RGB")
        except (OSError, ValueError) as error:
            raise InputError(f"{_name(source)} is damaged: {error}") from error


def identity(source: Source) -> str:
    """What a resumed batch knows an image by: its path, or the SHA-256 of its content."""
    if isinstance(source, Path):
        return str(source)
    if isinstance(source, bytes):
        return "sha256:" + hashlib.sha256(source).hexdigest()
    pixels = np.ascontiguousarray(source)
    digest = hashlib.sha256(f"{pixels.shape}{pixels.dtype}".encode())
    digest.update(pixels.tobytes())
    return "sha256:" + digest.hexdigest()


def _content(source: Source) -> bytes | None:
    """The encoded bytes of a file or bytes source, None for pixels."""
    if isinstance(source, bytes):
        return source
    if not isinstance(source, Path):
        return None
    try:
        return source.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"There is no file {source}") from error
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror}") from error


def _opened(source: Source, content: bytes | None) -> Image.Image:
    if isinstance(source, np.ndarray):
        return _of_array(source)
    if isinstance(source, Image.Image):
        return source.copy()  # so that the caller's image is not closed with ours
    try:
        return Image.open(io.BytesIO(content or b""))
    except UnidentifiedImageError as error:
        raise InputError(f"{_name(source)} is not an image of a format known here") from error
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{_name(source)} cannot be read as an image: {error}") from error


def _of_array(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    if pixels.dtype != np.uint8:
        raise InputError(
            f"An array must be uint8, not {pixels.dtype}; "
            "for floats from 0 to 1: (array * 255).round().astype('uint8')"
        )
    fits = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if not fits or 0 in pixels.shape:
        raise InputError(f"An array must be HxW, HxWx3 (RGB) or HxWx4 (RGBA), not {pixels.shape}")
    return Image.fromarray(np.ascontiguousarray(pixels))


def _displayed_size(picture: Image.Image) -> tuple[int, int]:
    width, height = picture.size
    turned = picture.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    return (height, width) if turned else (width, height)


def _upright(picture: Image.Image, source: Source) -> Image.Image:
    return ImageOps.exif_transpose(picture) if isinstance(source, Path | bytes) else picture


def _bounded(size: tuple[int, int], max_side_pixels: int | None) -> tuple[int, int]:
    longest = max(size)
    if max_side_pixels is None or longest <= max_side_pixels:
        return size
    width, height = (max(1, round(side * max_side_pixels / longest)) for side in size)
    return width, height


def _as_png(picture: Image.Image, size: tuple[int, int], source: Source) -> bytes:
    try:
        picture = _upright(picture, source)
        if picture.mode in _RGB_MODES:
            picture = picture.convert("RGB")
        if picture.mode not in _PNG_MODES:
            raise InputError(
                f"Images of mode {picture.mode} have no agreed range; convert to RGB or L first"
            )
        if picture.size != size:
            if picture.mode in ("1", "P"):  # neither can be interpolated
                picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        # Upright by now: EXIF sent along would turn it a second time.
        picture.info.pop("exif", None)
        out = io.BytesIO()
        picture.save(out, "PNG", compress_level=_PNG_COMPRESS_LEVEL, exif=b"")
    except (OSError, ValueError) as error:
        raise InputError(f"{_name(source)} cannot be decoded: {error}") from error
    return out.getvalue()


def _name(source: Source) -> str:
    return str(source) if isinstance(source, Path) else "The image"
