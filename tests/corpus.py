"""Bad and odd input, built by code: images, bodies, and what each is answered with."""

import base64
import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from pictures import bomb, chunk, encode, picture, png

FORM = "multipart/form-data; boundary=b"
RED, BLUE = (255, 0, 0), (0, 0, 255)


@dataclass(frozen=True)
class Case:
    """`data` is answered with `status`: 200 with the image's size, else the problem's code."""

    name: str
    data: bytes
    status: int = 200
    code: str = ""
    size: tuple[int, int] = (64, 48)  # width, height; as displayed
    content_type: str = ""

    def __str__(self) -> str:
        return self.name


def good_images() -> Iterator[Case]:
    """Odd, and accepted."""
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        size = (64, 48) if orientation < 5 else (48, 64)
        yield Case(f"orientation {orientation}", picture(kind="JPEG", exif=exif), size=size)
    cmyk = encode(Image.new("CMYK", (64, 48), (0, 255, 255, 0)), "JPEG")
    at = cmyk.index(b"\xff\xee")
    length = int.from_bytes(cmyk[at + 2 : at + 4], "big")
    yield Case("CMYK, inverted as Adobe's marker says", cmyk)
    yield Case("CMYK without the marker", cmyk[:at] + cmyk[at + 2 + length :])
    yield Case("16 bits", encode(Image.fromarray(np.full((48, 64), 0x80FF, np.uint16))))
    yield Case("1 bit", encode(Image.new("1", (64, 48), 1)))
    yield Case("grey with alpha", encode(Image.new("LA", (64, 48), (9, 9))))
    palette = Image.new("P", (64, 48), 1)
    palette.putpalette([*RED, *BLUE])
    yield Case("palette with a transparent entry", encode(palette, transparency=1))
    yield Case("palette with alpha", encode(palette, transparency=bytes([9, 99])))  # a PNG's PA
    frames = [Image.new("RGB", (64, 48), colour) for colour in (RED, BLUE)]
    for kind in ("PNG", "WEBP"):
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
        yield Case(f"animated {kind}", data)
    for size in ((1, 1), (27, 28), (8000, 30)):
        yield Case(f"{size[0]} x {size[1]}", picture(*size), size=size)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.py", "print()")
    yield Case("PNG, then a ZIP archive", picture() + archive.getvalue())
    yield Case("JPEG, then a PDF", picture(kind="JPEG") + b"%PDF-1.7\n%%EOF")
    yield Case("texts that swell", swelling_texts(), size=(2, 2))
    script = b"<script>alert(1)</script>"
    yield Case("JPEG with a script as its comment", picture(kind="JPEG", comment=script))


def bad_images() -> Iterator[Case]:
    """Refused: another format, damaged, or too large."""
    other = 415, "unsupported_image"
    frames = [Image.new("P", (8, 8), colour) for colour in (1, 2)]
    yield Case(
        "animated GIF", encode(frames[0], "GIF", save_all=True, append_images=frames), *other
    )
    for kind in ("TIFF", "EPS", "BMP", "JPEG2000"):
        yield Case(kind, picture(kind=kind), *other)
    yield Case(
        "PSD", b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 8, 8, 8, 3) + bytes(99), *other
    )
    inside = base64.b64encode(picture()).decode()
    svg = f'<svg xmlns="http://www.w3.org/2000/svg"><image href="data:image/png;base64,{inside}"/>'
    yield Case("SVG around a PNG", f"{svg}</svg>".encode(), *other)
    yield Case("GIF, then a PNG", encode(frames[0], "GIF") + picture(), *other)
    yield Case("PDF, then a JPEG", b"%PDF-1.7\n" + picture(kind="JPEG"), *other)
    yield Case("HTML, then a PNG", b"<!doctype html><p>" + picture(), *other)
    yield Case("a gzipped PNG", gzip.compress(picture()), *other)
    yield Case("100 megapixels", bomb(), 413, "too_large")
    noise = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    for kind in ("PNG", "JPEG", "WEBP"):
        whole = encode(Image.fromarray(noise), kind)
        for eighths in range(8):
            part = whole[: len(whole) * eighths // 8]
            yield Case(f"{eighths} eighths of a {kind}", part, *other)


def swelling_texts(count: int = 60, size: int = 1_000_000) -> bytes:
    """A PNG of 2 x 2 pixels with `count` compressed texts, each of which swells to `size` bytes."""
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(size), 9))
    return png(struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0), b"\0\0\0" * 2, text * count)


def form(image: bytes, query: bytes = b"x", head: bytes = b"", extra: bytes = b"") -> bytes:
    """A form with the boundary of FORM. `head`: more headers of the image's part."""
    return (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n' + head
        + b"\r\n" + image + b'\r\n--b\r\nContent-Disposition: form-data; name="query"\r\n\r\n'
        + query + b"\r\n" + extra + b"--b--\r\n"
    )  # fmt: skip


def parts(count: int) -> bytes:
    """`count` more fields for `form`, each with its own name."""
    one = b'--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nx\r\n'
    return b"".join(one % index for index in range(count))


def in_json(image: bytes | str, **fields: object) -> bytes:
    text = image if isinstance(image, str) else base64.b64encode(image).decode()
    return json.dumps({"image": text, "query": "x", **fields}).encode()


def bodies() -> Iterator[Case]:
    """Whole bodies that lie or are crooked."""
    kinds: dict[str, Any] = {"content_type": FORM}
    json_type: dict[str, Any] = {"content_type": "application/json"}
    malformed = 400, "malformed_request"
    image_type = b"Content-Type: image/png\r\n"
    html_type = b"Content-Type: text/html\r\n"
    yield Case("PNG called text/html", form(picture(), head=html_type), **kinds)
    yield Case("JPEG called image/png", form(picture(kind="JPEG"), head=image_type), **kinds)
    yield Case(
        "TIFF called image/png", form(picture(kind="TIFF"), head=image_type), 415,
        "unsupported_image", **kinds,
    )  # fmt: skip
    yield Case("a form called JSON", form(picture()), *malformed, **json_type)
    yield Case("JSON called a form", in_json(picture()), *malformed, **kinds)
    yield Case("a gzipped body that says nothing of it", gzip_bomb(), *malformed, **json_type)
    yield Case("10,000 parts", form(picture(), extra=parts(10_000)), *malformed, **kinds)
    yield Case("a form without its end", form(picture())[:-20], *malformed, **kinds)
    field = 422, "invalid_field"
    for name, text in (
        ("nothing", ""), ("whitespace", " \t\r\n"), ("padding alone", "===="),
        ("the URL's alphabet", "_-_-"), ("a cut base64", "QUJ"),
    ):  # fmt: skip
        yield Case(f"base64 of {name}", in_json(text), *field, **json_type)
    for number in ("NaN", "Infinity", "-Infinity", "1e999"):
        odd = form(picture(), extra=_field(b"max_instances", number.encode()))
        yield Case(f"{number} in a form", odd, *field, **kinds)
        body = in_json(picture(), max_instances=0).replace(b": 0}", f": {number}}}".encode())
        expected = field if number == "1e999" else malformed
        yield Case(f"{number} in JSON", body, *expected, **json_type)
    for name, query in (("NUL", b"a\0b"), ("a lone surrogate", b"a\xed\xa0\x80b")):
        yield Case(f"{name} in a form's query", form(picture(), query), *field, **kinds)
    for name, text in (
        ("right-to-left", "\u05d4\u05db\u05d5\u05e1 \u202eabc"),
        ("zero-width", "a\u200b\u200d\ufeffb"),
    ):  # fmt: skip
        yield Case(f"{name} text", form(picture(), text.encode()), **kinds)


def _field(name: bytes, value: bytes) -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name, value)


def gzip_bomb(size: int = 200 * 2**20) -> bytes:
    """`size` bytes of spaces, in about a thousandth of them."""
    packer = zlib.compressobj(9, wbits=31)
    megabyte = b" " * 2**20
    return b"".join(packer.compress(megabyte) for _ in range(size >> 20)) + packer.flush()
