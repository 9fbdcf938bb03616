"""Encoded images, built by code."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def picture(width: int = 64, height: int = 48, kind: str = "PNG", **options: Any) -> bytes:
    """A gradient."""
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([columns * 255 // width, rows * 255 // height, rows * 0 + 90], axis=2)
    return encode(Image.fromarray(pixels.astype(np.uint8)), kind, **options)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(header: bytes, pixels: bytes, *extra: bytes) -> bytes:
    """A PNG from its raw parts (ISO/IEC 15948): IHDR's 13 bytes, filtered rows, more chunks."""
    body = chunk(b"IHDR", header) + b"".join(extra) + chunk(b"IDAT", zlib.compress(pixels, 9))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def bomb(side: int = 10_000) -> bytes:
    """side x side pixels, one bit each, in some kilobytes."""
    return png(struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0), bytes(side * (side // 8 + 1)))


def runs_of(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """H x W bool -> run lengths down the columns, background first."""
    columns = np.concatenate([[False], mask.T.ravel(), [False]])
    places = np.flatnonzero(columns[1:] != columns[:-1])
    return np.diff(places[places < mask.size], prepend=0, append=mask.size)
