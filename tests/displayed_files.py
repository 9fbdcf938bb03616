"""Image files that a reader may read in more than one way, each with how it is displayed.

With `displayed_colours`, the one table for the server and the Python client, which are installed
apart: both must read each file as it says here.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pictures import chunk, encode

WIDTH, HEIGHT = 64, 32
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
_PNG_SIGNATURE_BYTES = 8
_XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_KEY = "XML:com.adobe.xmp"
# The corners as displayed, row by row, of a stored image whose own are red, green / blue, white.
CORNERS = {
    1: (RED, GREEN, BLUE, WHITE), 2: (GREEN, RED, WHITE, BLUE), 3: (WHITE, BLUE, GREEN, RED),
    4: (BLUE, WHITE, RED, GREEN), 5: (RED, BLUE, GREEN, WHITE), 6: (BLUE, RED, WHITE, GREEN),
    7: (WHITE, GREEN, BLUE, RED), 8: (GREEN, WHITE, RED, BLUE),
}  # fmt: skip


@dataclass(frozen=True)
class File:
    """`size` is (width, height) and `corners` are RGB, row by row, both as displayed."""

    name: str
    data: bytes = field(repr=False)
    size: tuple[int, int]
    corners: tuple[tuple[int, int, int], ...]

    def __str__(self) -> str:
        return self.name


def files() -> list[File]:
    return [*_oriented(), *_with_metadata(), *_with_unread_metadata()]


def corners_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[4, 3]: the corners of an [h, w, 3] image, row by row."""
    return pixels[[0, 0, -1, -1], [0, -1, 0, -1]]


def quadrants() -> Image.Image:
    stored = Image.new("RGB", (WIDTH, HEIGHT))
    half = WIDTH // 2, HEIGHT // 2
    for index, colour in enumerate(CORNERS[1]):
        x, y = (index % 2) * half[0], (index // 2) * half[1]
        stored.paste(colour, (x, y, x + half[0], y + half[1]))
    return stored


def exif_of(orientation: int) -> bytes:
    """An Exif block, with its header, of nothing but the orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def xmp_of(orientation: int, form: str = 'tiff:Orientation="{}"') -> bytes:
    body = form.format(orientation)
    attribute, element = (body, "") if "=" in body else ("", body)
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description '
        f'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" {attribute}>{element}</rdf:Description>'
    ).encode()


def raw_profile(name: str, content: bytes) -> bytes:
    """A text as ImageMagick writes profiles into a PNG."""
    digits = content.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    return f"\n{name}\n{len(content):8}\n{lines}\n".encode()


def png_with(*chunks: bytes, after_pixels: bool = False) -> bytes:
    """The quadrants as a PNG with more chunks, before its pixels or after them."""
    data = encode(quadrants())
    at = data.index(b"IEND") - 4 if after_pixels else _PNG_SIGNATURE_BYTES + 25
    return data[:at] + b"".join(chunks) + data[at:]


def text(keyword: str, content: bytes) -> bytes:
    return chunk(b"tEXt", keyword.encode() + b"\0" + content)


def packed_text(keyword: str, content: bytes) -> bytes:
    return chunk(b"zTXt", keyword.encode() + b"\0\0" + zlib.compress(content))


def unicode_text(keyword: str, content: bytes, packed: bool = False) -> bytes:
    content = zlib.compress(content) if packed else content
    return chunk(b"iTXt", keyword.encode() + bytes([0, packed, 0]) + b"en\0key\0" + content)


def stale(one: bytes) -> bytes:
    """A chunk whose checksum is wrong."""
    return one[:-1] + bytes([one[-1] ^ 1])


def _turned(name: str, data: bytes, orientation: int) -> File:
    size = (WIDTH, HEIGHT) if orientation < 5 else (HEIGHT, WIDTH)
    return File(name, data, size, CORNERS[orientation])


def _saved(kind: str, picture: Image.Image | None = None, **options: Any) -> bytes:
    lossless: dict[str, dict[str, Any]] = {
        "WEBP": {"lossless": True},
        "JPEG": {"quality": 100, "subsampling": 0},
    }
    return encode(picture or quadrants(), kind, **lossless.get(kind, {}), **options)


def _oriented() -> Iterator[File]:
    for kind in ("JPEG", "PNG", "WEBP"):
        for number in range(1, 9):
            data = _saved(kind, exif=exif_of(number))
            yield _turned(f"{kind}, EXIF orientation {number}", data, number)
        for number in (0, 9, 300):
            data = _saved(kind, exif=exif_of(number))
            yield _turned(f"{kind}, EXIF orientation {number}, which is none", data, 1)
    for kind in ("JPEG", "WEBP"):
        yield _turned(f"{kind}, XMP", _saved(kind, xmp=xmp_of(6)), 6)
        both = _saved(kind, exif=exif_of(3), xmp=xmp_of(6))
        yield _turned(f"{kind}, EXIF before XMP", both, 3)
        both = _saved(kind, exif=exif_of(0), xmp=xmp_of(6))
        yield _turned(f"{kind}, XMP where EXIF says none", both, 6)
    for form in ("tiff:Orientation='{}'", "<tiff:Orientation>{}</tiff:Orientation>"):
        yield _turned(f"JPEG, XMP as {form}", _saved("JPEG", xmp=xmp_of(8, form)), 8)
    frames = {"save_all": True, "append_images": [Image.new("RGB", (16, 16))]}
    plain = encode(quadrants(), "MPO", quality=100, subsampling=0, **frames)
    yield _turned("MPO", plain, 1)
    block = exif_of(6)
    app1 = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    yield _turned("MPO, EXIF orientation 6", plain[:2] + app1 + plain[2:], 6)
    broken = {"blank": b"", "junk": b"camera firmware says no", "cut": b"II*\0\x08\0\0\0\x05\0",
              "header twice": exif_of(1), "outside": b"MM\0*\xff\xff\xff\xf0"}  # fmt: skip
    for name, content in broken.items():
        block = b"Exif\0\0" + content
        app1 = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
        jpeg = _saved("JPEG")
        yield _turned(f"JPEG, EXIF {name}", jpeg[:2] + app1 + jpeg[2:], 1)
        yield _turned(f"PNG, EXIF {name}", png_with(chunk(b"eXIf", content)), 1)


def _with_metadata() -> Iterator[File]:
    six = exif_of(6)
    raw = raw_profile("exif", six)
    several = {
        "eXIf after the pixels": [chunk(b"eXIf", six[6:])],
        "raw profile exif, zTXt": [packed_text("Raw profile type exif", raw)],
        "raw profile exif, tEXt": [text("Raw profile type exif", raw)],
        "raw profile APP1": [packed_text("Raw profile type APP1", raw_profile("generic", six))],
        "raw profile APP1 of XMP": [
            packed_text("Raw profile type APP1", raw_profile("generic", _XMP_HEADER + xmp_of(6)))
        ],
        "raw profile xmp": [packed_text("Raw profile type xmp", raw_profile("xmp", xmp_of(6)))],
        "XMP": [unicode_text(_XMP_KEY, xmp_of(6))],
        "XMP, compressed": [unicode_text(_XMP_KEY, xmp_of(6), packed=True)],
        "eXIf before raw profile": [
            packed_text("Raw profile type exif", raw_profile("exif", exif_of(3))),
            chunk(b"eXIf", six[6:]),
        ],
        "raw profile before XMP": [
            unicode_text(_XMP_KEY, xmp_of(3)), packed_text("Raw profile type exif", raw),
        ],
        "large texts beside it": [
            packed_text("workflow", b'{"node": 1}' * 200_000), chunk(b"eXIf", six[6:]),
        ],
    }  # fmt: skip
    for name, chunks in several.items():
        yield _turned(f"PNG, {name}", png_with(*chunks), 6)
        yield _turned(f"PNG, {name}, at the end", png_with(*chunks, after_pixels=True), 6)


def _with_unread_metadata() -> Iterator[File]:
    profile = zlib.compress(np.random.default_rng(0).bytes(1_500_000))
    not_read = {
        "ICC profile of 1.5 MB": chunk(b"iCCP", b"printer\0\0" + profile),
        "ICC profile of an unknown compression": chunk(b"iCCP", b"x\0\7" + profile[:9]),
        "texts that swell": packed_text("k", bytes(80 << 20)),
        "XMP that swells": unicode_text(_XMP_KEY, bytes(80 << 20), packed=True),
        "raw profile that is no hex": text("Raw profile type exif", b"\nexif\n 3\nxyz\n"),
        "text that is not packed": chunk(b"zTXt", b"Raw profile type exif\0\0no zlib"),
        "eXIf with a stale checksum": stale(chunk(b"eXIf", exif_of(6)[6:])),
        "text with a stale checksum": stale(text("Software", b"painted here")),
        "transparency with a stale checksum": stale(chunk(b"tRNS", bytes(6))),
        "physical size cut short": chunk(b"pHYs", b"\0"),
        "unknown ancillary chunk": stale(chunk(b"wiSe", b"?")),
    }
    for name, one in not_read.items():
        yield _turned(f"PNG, {name}", png_with(one), 1)
        yield _turned(f"PNG, {name}, at the end", png_with(one, after_pixels=True), 1)
    whole = png_with(text("Comment", bytes(99)), after_pixels=True)
    yield _turned("PNG cut short in a text behind its pixels", whole[: whole.index(b"Comment")], 1)
