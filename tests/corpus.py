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
CLICK = b'[{"points": [{"x": 0, "y": 0}]}]'  # within any image
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
    return _image_part(image, head) + _field(b"query", query) + extra + b"--b--\r\n"


def refine_form(image: bytes, prompts: bytes = CLICK, extra: bytes = b"") -> bytes:
    """A form for /refine."""
    return _image_part(image) + _field(b"prompts", prompts) + extra + b"--b--\r\n"


def _image_part(image: bytes, head: bytes = b"") -> bytes:
    start = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n'
    return start + head + b"\r\n" + image + b"\r\n"


def parts(count: int) -> bytes:
    """`count` more fields for `form`, each with its own name."""
    one = b'--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nx\r\n'
    return b"".join(one % index for index in range(count))


def in_json(image: bytes | str, **fields: object) -> bytes:
    text = image if isinstance(image, str) else base64.b64encode(image).decode()
    return json.dumps({"image": text, "query": "x", **fields}).encode()


def refine_in_json(image: bytes, prompts: bytes = CLICK) -> bytes:
    """A JSON body for /refine; the text of `prompts` as it is."""
    text = base64.b64encode(image)
    return b'{"image": "%s", "prompts": %s}' % (text, prompts)


def bodies() -> Iterator[Case]:
    """Whole bodies that are malformed, or whose headers are false."""
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


def refine_bodies() -> Iterator[Case]:
    """Bodies for /refine with malformed or impossible prompts."""
    field, malformed = (422, "invalid_field"), (400, "malformed_request")
    huge = b"9" * 400
    for name, prompts in (
        ("a string", b'"box"'), ("a number", b"1"), ("null", b"null"), ("an object", b"{}"),
        ("no prompt", b"[]"), ("an empty prompt", b"[{}]"), ("an unknown key", b'[{"boxes": []}]'),
        ("a box without area", b'[{"box": [9, 9, 9, 9]}]'),
        ("a box beside the image", b'[{"box": [70, 0, 90, 20]}]'),
        ("a box of huge numbers", b'[{"box": [0, 0, %s, 1e999]}]' % huge),
        ("a point beside the image", b'[{"points": [{"x": -1, "y": 0}]}]'),
        ("a point of 1e999", b'[{"points": [{"x": 1e999, "y": 0}]}]'),
        ("label -1, SAM 2's padding", b'[{"points": [{"x": 0, "y": 0, "label": -1}]}]'),
        ("label true", b'[{"points": [{"x": 0, "y": 0, "label": true}]}]'),
        ("a mask of another size", b'[{"mask": {"size": [64, 48], "counts": "P`2"}}]'),
        ("a mask of 10^18", b'[{"mask": {"size": [%d, %d], "counts": "0"}}]' % ((10**9,) * 2)),
        ("a mask of negative size", b'[{"mask": {"size": [-48, -64], "counts": "P`2"}}]'),
        ("a mask beyond its pixels", b'[{"mask": {"size": [48, 64], "counts": "oooo0"}}]'),
        ("a mask of negative runs", b'[{"mask": {"size": [48, 64], "counts": "N`2"}}]'),
        ("a mask of NUL", b'[{"mask": {"size": [48, 64], "counts": "\\u0000"}}]'),
        ("a mask of a lone surrogate", b'[{"mask": {"size": [48, 64], "counts": "\\ud800"}}]'),
        ("a mask without an end", b'[{"mask": {"size": [48, 64], "counts": "%s"}}]' % (b"P" * 999)),
    ):  # fmt: skip
        yield from _refined(f"prompts: {name}", prompts, *field)
    yield from _refined("prompts: 65", b"[%s]" % b",".join([CLICK[1:-1]] * 65), 413, "too_large")
    point = b'{"x": 0, "y": 0}'
    points = b'[{"points": [%s]}]' % b",".join([point] * 65)
    yield from _refined("prompts: 65 points", points, 413, "too_large")
    nested = b"[" * 100_000 + b"]" * 100_000
    for name, prompts in (("NaN", b'[{"box": [NaN, 0, 9, 9]}]'), ("nested deeply", nested)):
        body = refine_in_json(picture(), prompts)
        yield Case(f"prompts: {name} in JSON", body, *malformed, content_type="application/json")
        body = refine_form(picture(), prompts)
        yield Case(f"prompts: {name} in a form", body, *field, content_type=FORM)
    query = refine_form(picture(), extra=_field(b"query", b"x"))
    yield Case("a query for /refine", query, *field, content_type=FORM)
    for name, digest in (("a path", "../../etc/passwd"), ("NUL", "0" * 31 + "\0"), ("nothing", "")):
        body = json.dumps({"image_digest": digest, "prompts": json.loads(CLICK)}).encode()
        yield Case(f"a digest of {name}", body, *field, content_type="application/json")


def _refined(name: str, prompts: bytes, status: int, code: str) -> Iterator[Case]:
    """The same prompts in both media types."""
    body = refine_in_json(picture(), prompts)
    yield Case(f"{name} in JSON", body, status, code, content_type="application/json")
    yield Case(
        f"{name} in a form", refine_form(picture(), prompts), status, code, content_type=FORM
    )


def _field(name: bytes, value: bytes) -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name, value)


def gzip_bomb(size: int = 200 * 2**20) -> bytes:
    """`size` bytes of spaces, in about a thousandth of them."""
    packer = zlib.compressobj(9, wbits=31)
    megabyte = b" " * 2**20
    return b"".join(packer.compress(megabyte) for _ in range(size >> 20)) + packer.flush()
