"""Images a caller holds -> the bytes that are sent, and back to pixels for the overlay.

JPEG (MPO of phones included), PNG and WebP bytes are sent as they are; everything else is encoded
as PNG, without loss. Coordinates and masks are in pixels of the image as it is displayed: for
files and bytes the orientation that they state counts (see `wise_client.displayed`); for a PIL
image or an array it is the pixels as they are held.
"""

import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from wise_client import decoding, displayed
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
# One of these is held while a caller's PIL image is decoded; images seldom share one.
_DECODING: Final = tuple(threading.Lock() for _ in range(61))


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
    if isinstance(source, Path | bytes):
        return _of_file(source, max_side_pixels)
    picture = _held(source)
    with decoding.told_of("The image"):
        sent_size = _bounded(picture.size, max_side_pixels)
        png = _as_png(picture, 1, picture.size, sent_size)
        return PreparedImage(png, "image/png", "image.png", sent_size, picture.size, source)


def load_rgb(source: Source) -> Image.Image:
    """The source's pixels as displayed, which are those that the server sees; mode RGB.

    Raises InputError when they cannot be read.
    """
    if not isinstance(source, Path | bytes):
        held = _held(source)
        with decoding.told_of("The image"):
            return displayed.to_rgb(decoding.decode(held))
    content = content_of(source)
    with decoding.told_of(_name(source)), decoding.open_file(content) as picture:
        flat = displayed.to_rgb(decoding.decode(picture))
        return displayed.upright(flat, decoding.orientation(picture))


def identity(source: Source) -> str:
    """What a resumed batch knows an image by: its path, or the SHA-256 of its content.

    Raises InputError when a PIL image cannot be decoded.
    """
    if isinstance(source, Path):
        return str(source)
    if isinstance(source, bytes):
        return "sha256:" + hashlib.sha256(source).hexdigest()
    pixels = pixels_of(source)
    digest = hashlib.sha256(f"{pixels.shape}{pixels.dtype}".encode())
    digest.update(pixels.tobytes())
    return "sha256:" + digest.hexdigest()


def pixels_of(source: Image.Image | npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The values that the caller holds, contiguous; for a palette image, its indices.

    Raises InputError when a PIL image cannot be decoded.
    """
    return np.ascontiguousarray(source if isinstance(source, np.ndarray) else _decoded(source))


def _of_file(source: Path | bytes, max_side_pixels: int | None) -> PreparedImage:
    content = content_of(source)
    kind = displayed.identify(content)
    with decoding.told_of(_name(source)), decoding.open_file(content) as picture:
        if kind is None:
            picture.load()  # Pillow knows the size and the orientation of some formats only then
        turn = decoding.orientation(picture)
        size = picture.size if turn < 5 else picture.size[::-1]
        sent_size = _bounded(size, max_side_pixels)
        if kind is not None and sent_size == size:
            name = f"image.{kind.lower()}"
            return PreparedImage(content, _SENT_AS_IS[kind], name, size, size, source)
        png = _as_png(picture, turn, size, sent_size)
    return PreparedImage(png, "image/png", "image.png", sent_size, size, source)


def _as_png(
    picture: Image.Image, turn: int, size: tuple[int, int], sent_size: tuple[int, int]
) -> bytes:
    """`size` and `sent_size` are those of the turned image."""
    if sent_size == size:
        made = decoding.decode(picture)
    else:
        made = decoding.shrink(picture, sent_size if turn < 5 else sent_size[::-1])
    return decoding.as_png(displayed.upright(made, turn))


def content_of(source: Path | bytes) -> bytes:
    """The encoded bytes of a file or bytes source."""
    if isinstance(source, bytes):
        return source
    try:
        return source.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"There is no file {source}") from error
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror}") from error
    except ValueError as error:  # a zero byte or a surrogate, which no file name can have
        raise InputError(f"{source} cannot be read: {error}") from error


def _held(source: Image.Image | npt.NDArray[np.uint8]) -> Image.Image:
    """A picture of pixels that the caller holds; its own, so that ours can be closed."""
    return _of_array(source) if isinstance(source, np.ndarray) else _decoded(source).copy()


def _decoded(picture: Image.Image) -> Image.Image:
    """The caller's own picture, decoded by one thread: Pillow mixes up the pixels if several
    threads decode the same picture at once."""
    with _DECODING[id(picture) // 16 % len(_DECODING)], decoding.told_of("The image"):
        picture.load()
    return picture


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


def _bounded(size: tuple[int, int], max_side_pixels: int | None) -> tuple[int, int]:
    longest = max(size)
    if max_side_pixels is None or longest <= max_side_pixels:
        return size
    width, height = (max(1, round(side * max_side_pixels / longest)) for side in size)
    return width, height


def _name(source: Source) -> str:
    return str(source) if isinstance(source, Path) else "The image"
