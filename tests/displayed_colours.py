"""Image files whose colours may be read in more than one way, each with how it is displayed."""

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from displayed_files import BLUE, RED, WHITE, File
from pictures import chunk, encode, png


def files() -> list[File]:
    return [*_colours(), *_transparent_at_other_depths(), *_cmyk()]


def _colours() -> Iterator[File]:
    def one(name: str, picture: Image.Image, colour: tuple[int, int, int], **options: Any) -> File:
        kind = options.pop("kind", "PNG")
        return File(name, encode(picture, kind, **options), picture.size, (colour,) * 4)

    half, clear = (255, 0, 0, 128), (255, 0, 0, 0)
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
        made = {"kind": kind, **options}
        yield one(f"{kind}, half clear", Image.new("RGBA", (8, 8), half), (255, 127, 127), **made)
        yield one(f"{kind}, clear", Image.new("RGBA", (8, 8), clear), WHITE, **made)
        frames = {"save_all": True, "append_images": [Image.new("RGB", (8, 8), BLUE)]}
        yield one(f"{kind}, animated", Image.new("RGB", (8, 8), RED), RED, **made, **frames)
    yield one("grey with alpha", Image.new("LA", (8, 8), (0, 0)), WHITE)
    yield one("transparent colour", Image.new("RGB", (8, 8), RED), WHITE, transparency=RED)
    yield one("transparent grey", Image.new("L", (8, 8), 7), WHITE, transparency=7)
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([*RED, *BLUE])
    yield one("palette", palette, BLUE)
    yield one("palette with a clear entry", palette, WHITE, transparency=1)
    yield one("palette with alpha", palette, WHITE, transparency=bytes([255, 0]))
    yield one("1 bit", Image.new("1", (8, 8), 1), WHITE)
    yield one("grey", Image.new("L", (8, 8), 77), (77, 77, 77))
    deep = Image.fromarray(np.full((8, 8), 0x80FF, np.uint16))
    yield one("16 bits of grey", deep, (128, 128, 128))
    yield one("16 bits of grey, clear", deep, WHITE, transparency=0x80FF)
    for name, colour_type, values, shown in (
        ("colour", 2, (0xFFFF, 0x8000, 0x00FF), (255, 128, 0)),
        ("grey with alpha", 4, (0x8000, 0), WHITE),
        ("colour with alpha", 6, (0x8000, 0, 0, 0xFFFF), (128, 0, 0)),
    ):
        row = b"\0" + struct.pack(f">{len(values)}H", *values) * 8
        header = struct.pack(">IIBBBBB", 8, 8, 16, colour_type, 0, 0, 0)
        data = png(header, row * 8)
        yield File(f"16 bits of {name}", data, (8, 8), (shown,) * 4)


def _transparent_at_other_depths() -> Iterator[File]:
    """One colour in depths other than 8 bits, and a tRNS chunk, which is in the file's depth."""
    colour, other_low_bytes = (0x2211, 0x4433, 0x6655), (0x2200, 0x4433, 0x6655)
    swapped = (0x1122, 0x3344, 0x5566)  # its low bytes are the high bytes of `colour`
    deep_row = struct.pack(">3H", *colour) * 8
    for name, depth, colour_type, row, transparent, shown in (
        ("2 bits of grey, clear", 2, 0, b"\x55" * 2, (1,), WHITE),
        ("2 bits of grey, clear, unused bits set", 2, 0, b"\x55" * 2, (0xFFFD,), WHITE),
        ("2 bits of grey, another clear", 2, 0, b"\x55" * 2, (2,), (85, 85, 85)),
        ("4 bits of grey, clear", 4, 0, b"\x11" * 4, (1,), WHITE),
        ("4 bits of grey, another clear", 4, 0, b"\x11" * 4, (2,), (17, 17, 17)),
        ("16 bits of colour, clear", 16, 2, deep_row, colour, WHITE),
        ("16 bits of colour, the same high bytes clear", 16, 2, deep_row, other_low_bytes, WHITE),
        ("16 bits of colour, another clear", 16, 2, deep_row, swapped, (0x22, 0x44, 0x66)),
    ):
        header = struct.pack(">IIBBBBB", 8, 8, depth, colour_type, 0, 0, 0)
        clear = chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent))
        yield File(name, png(header, (b"\0" + row) * 8, clear), (8, 8), (shown,) * 4)


def _cmyk() -> Iterator[File]:
    cmyk = encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100)
    at = cmyk.index(b"\xff\xee")  # APP14, Adobe's marker; Pillow writes the inverted form
    length = int.from_bytes(cmyk[at + 2 : at + 4], "big")
    yield File("CMYK", cmyk, (16, 16), (RED,) * 4)
    without = cmyk[:at] + cmyk[at + 2 + length :]
    yield File("CMYK without Adobe's marker", without, (16, 16), (RED,) * 4)
