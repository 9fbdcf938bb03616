"""An encoded image as a viewer displays it: JPEG, PNG and WebP, recognised by their content.

The server and its Python client are installed separately and must agree on every image. So both
packages hold this file, word for word; `tests/unit/imaging/test_displayed.py` compares the two
copies and runs both on the same files. It imports neither package, and runs on Python 3.10.

| in the file                        | becomes                                                  |
|------------------------------------|----------------------------------------------------------|
| orientation 2 to 8 (see below)     | applied; all coordinates are of the turned image         |
| alpha, a transparent colour        | composited over white                                    |
| CMYK JPEG                          | RGB; read as inverted, Adobe's convention, as browsers do|
| 16 bits per channel                | the high byte, also of a transparent RGB colour          |
| 1 bit, greyscale, palette          | RGB                                                      |
| several frames, or MPO's pictures  | the first                                                |
| colour profile, texts              | ignored, as the models' training did                     |

The orientation is read from EXIF (JPEG's and WebP's Exif, PNG's eXIf, ImageMagick's "Raw profile
type exif" or "APP1" in a PNG's text). If EXIF has none, it is read from `tiff:Orientation` of XMP.
A value that is not 1 to 8, or that cannot be read, is ignored.

Why PNG's chunks are read here and not by Pillow: Pillow refuses the whole file if an ancillary
chunk is too large for it or has a wrong checksum. Its setting against that holds for the whole
process, and accepts damaged pixels as well. So Pillow is given only the chunks that make up the
pixels. Of the others, only a text that may hold the orientation is decompressed, and at most
1 MiB of it.
"""

import io
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

FORMATS: Final = ("JPEG", "PNG", "WEBP")
_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PNG_DEPTH_AT: Final = 24  # in IHDR, which is the first chunk
_MOST_TEXT_BYTES: Final = 1 << 20
_EXIF_HEADER: Final = b"Exif\0\0"
_XMP_HEADER: Final = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_ORIENTATION: Final = re.compile(rb"""tiff:Orientation(?:\s*=\s*["']|>\s*)([1-8])\b""")
_WHITE: Final = (255, 255, 255, 255)
_TURNS: Final = {  # EXIF 2.32, tag 0x0112
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Chunk(NamedTuple):
    """One chunk of a PNG: `whole` is its length, name, body and checksum."""

    name: bytes
    body: memoryview
    whole: memoryview

    @property
    def ancillary(self) -> bool:
        """Whether the pixels can be read without it (ISO/IEC 15948, 5.4)."""
        return self.name.isalpha() and bool(self.name[0] & 0x20)

    @property
    def intact(self) -> bool:
        """Whether its checksum is right."""
        return zlib.crc32(self.whole[4:-4]) == int.from_bytes(self.whole[-4:], "big")


def identify(data: bytes) -> str | None:
    """The format by the first bytes: "JPEG", "PNG" or "WEBP"; None for any other."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(_PNG_SIGNATURE):
        return "PNG"
    return "WEBP" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def open_image(data: bytes) -> ImageFile:
    """The image with its header read and no pixel decoded; `size` is (width, height) as stored.

    Raises UnidentifiedImageError for another format. For a damaged file Pillow may raise an
    exception of nearly any type.
    """
    kind = identify(data)
    if kind == "PNG":
        pixels, metadata = _split_png(data)
        image: ImageFile = PngImageFile(io.BytesIO(pixels))
        image.info.update(metadata)
        _scale_transparency(image, depth=pixels[_PNG_DEPTH_AT])
        return image
    if kind == "JPEG":
        return JpegImageFile(io.BytesIO(data))  # also for an MPO: its first picture is a JPEG
    if kind == "WEBP":
        return WebPImageFile(io.BytesIO(data))
    raise UnidentifiedImageError("neither JPEG, PNG nor WebP")


def orientation(info: Mapping[Any, Any]) -> int:
    """EXIF orientation, 1 to 8, from an opened image's `info`; 1 if none can be read."""
    try:
        exif = Image.Exif()
        exif.load(info.get("exif") or b"")
        value = int(exif.get(ExifTags.Base.Orientation, 0))
    except Exception:  # Pillow raises nearly any type for damaged EXIF data
        value = 0
    if 1 <= value <= 8:
        return value
    xmp = info.get("xmp")
    found = _XMP_ORIENTATION.search(xmp) if isinstance(xmp, bytes) else None
    return int(found[1]) if found else 1


def displayed_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) in pixels after turning by the orientation; decodes no pixel."""
    width, height = image.size
    return (height, width) if orientation(image.info) >= 5 else (width, height)


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """The image turned as its orientation, 1 to 8, says; for 1 the image itself."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def opaque(image: Image.Image) -> Image.Image:
    """The image with 8 bits per channel and nothing transparent; itself if it is so already."""
    if image.mode.startswith("I"):
        return Image.fromarray(_high_byte(image))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, _WHITE)
        return Image.alpha_composite(white, layer).convert("RGB")
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """The colours as displayed, mode RGB; not turned."""
    flat = opaque(image)
    return flat if flat.mode == "RGB" else flat.convert("RGB")


def _high_byte(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The high bytes, H x W uint8, of a 16-bit image; its transparent value becomes white."""
    values = np.asarray(image)
    high = (np.clip(values, 0, 0xFFFF) >> 8).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        high[values == transparent] = 0xFF
    return high


def _scale_transparency(image: Image.Image, depth: int) -> None:
    """Scale a PNG's transparent colour as Pillow scales the pixels; it leaves it at `depth` bits.

    Of RGB with 16 bits Pillow keeps the high bytes only, so every colour that has the same high
    bytes becomes transparent.
    """
    transparent = image.info.get("transparency")
    if isinstance(transparent, int) and image.mode == "L" and depth < 8:
        most = 2**depth - 1
        image.info["transparency"] = (transparent & most) * 255 // most
    elif isinstance(transparent, tuple) and depth == 16:
        image.info["transparency"] = tuple(channel >> 8 for channel in transparent)


def _split_png(data: bytes) -> tuple[bytes, dict[str, bytes]]:
    """The PNG with only the chunks of its pixels; and its "exif" and "xmp", if it has them."""
    pixels: list[bytes | memoryview] = [_PNG_SIGNATURE]
    texts: dict[bytes, bytes] = {}
    for chunk in _chunks(memoryview(data)):
        if not chunk.ancillary or (chunk.name == b"tRNS" and chunk.intact):
            pixels.append(chunk.whole)  # Pillow reports damage in it
        elif chunk.name == b"eXIf" and chunk.intact:
            texts.setdefault(b"eXIf", bytes(chunk.body))
        elif chunk.name in (b"tEXt", b"zTXt", b"iTXt"):
            keyword = bytes(chunk.body[:80]).partition(b"\0")[0]
            if keyword in _METADATA and keyword not in texts and chunk.intact:
                texts[keyword] = _text(chunk.name, bytes(chunk.body[len(keyword) + 1 :]))
    return b"".join(pixels), _metadata(texts)


def _chunks(data: memoryview) -> Iterator[Chunk]:
    """The chunks of a PNG up to its end, or up to the place where the file was cut off."""
    start = len(_PNG_SIGNATURE)
    while start < len(data):
        length = int.from_bytes(data[start : start + 4], "big")
        end = start + 12 + length
        name = bytes(data[start + 4 : start + 8])
        chunk = Chunk(name, data[start + 8 : end - 4], data[start:end])
        cut = end > len(data)
        if not (cut and chunk.ancillary):
            yield chunk
        if cut or name == b"IEND":
            return
        start = end


# Where a PNG's text may hold the orientation, in the order in which they count.
_METADATA: Final = {
    b"eXIf": "exif",
    b"Raw profile type exif": "exif",
    b"Raw profile type APP1": "exif",
    b"XML:com.adobe.xmp": "xmp",
    b"Raw profile type xmp": "xmp",
}


def _metadata(texts: Mapping[bytes, bytes]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for keyword, name in _METADATA.items():
        content = texts.get(keyword, b"")
        if keyword.startswith(b"Raw"):
            content = _of_raw_profile(content)
        if content.startswith(_XMP_HEADER):
            name, content = "xmp", content.removeprefix(_XMP_HEADER)
        if content:
            found.setdefault(name, content)
    return found


def _text(kind: bytes, content: bytes) -> bytes:
    """The text after its keyword (ISO/IEC 15948, 11.3.3); at most 1 MiB of a compressed one."""
    packed = kind == b"zTXt"
    if kind == b"zTXt":
        content = content[1:]
    elif kind == b"iTXt":
        packed = content[:1] == b"\1"
        content = content[2:].split(b"\0", 2)[-1]
    try:
        return zlib.decompressobj().decompress(content, _MOST_TEXT_BYTES) if packed else content
    except zlib.error:
        return b""


def _of_raw_profile(text: bytes) -> bytes:
    """ImageMagick's form: a line with the profile's name, one with its length, then hex digits."""
    try:
        return bytes.fromhex(b"".join(text.split()[2:]).decode("ascii"))
    except ValueError:
        return b""
