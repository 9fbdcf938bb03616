"""A JSON body to the image and the other fields, in little more memory than its own.

Python's lists and dictionaries may take thirty times the memory of the JSON they are made from. So
the fields are found first, as slices of the body; the image is decoded piece by piece, and the rest
is made into objects only where it is short.
"""

import binascii
import codecs
import io
import json
import re
from collections.abc import Iterator
from typing import Any, Final, NoReturn

import msgspec

from wise_serve.contract.errors import InvalidField, MalformedRequest, TooLarge
from wise_serve.contract.schemas import SegmentOptions

_PIECE_BYTES: Final = 1 << 18
_LONGEST_ESCAPE: Final = len(rb"\u002b")
_SPACE: Final = bytes.maketrans(b"", b""), b" \t\r\n"
_UNKNOWN: Final = re.compile(r"unknown field `(.*)`", re.DOTALL)
_HALF_A_PAIR: Final = re.compile(
    rb"\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F]", re.DOTALL
)
_NOT_BASE64: Final = "'image' is not base64 (plain, without a 'data:' prefix)."

# Each field as a slice of the body; b"" where it is missing.
_Slices: Final = msgspec.defstruct(
    "_Slices",
    [(name, msgspec.Raw, msgspec.Raw(b"")) for name in ("image", *SegmentOptions.model_fields)],
    forbid_unknown_fields=True,
)


def read_json(body: bytes | bytearray, most_bytes: int) -> tuple[bytes | None, dict[str, Any]]:
    """The image's bytes (None: missing) and the other fields, unchecked.

    `most_bytes`: what the other fields may have in all. Raises MalformedRequest, InvalidField,
    TooLarge.
    """
    try:
        slices = _slices(body)
        image = slices.pop("image", None)
        if sum(map(len, slices.values())) > most_bytes:
            raise TooLarge(f"Besides the image, at most {most_bytes} bytes are taken.")
        fields = {name: loads(bytes(part)) for name, part in slices.items()}
        return (None if image is None or bytes(image[:4]) == b"null" else _image(image)), fields
    except (msgspec.DecodeError, ValueError, RecursionError):
        if _HALF_A_PAIR.search(body):
            raise InvalidField("A text holds half of a surrogate pair, which is no text.") from None
        raise MalformedRequest("The body is not valid JSON.") from None


def _slices(body: bytes | bytearray) -> dict[str, memoryview]:
    start = len(codecs.BOM_UTF8) if body.startswith(codecs.BOM_UTF8) else 0
    try:
        found = msgspec.json.decode(memoryview(body)[start:], type=_Slices)
    except msgspec.ValidationError as error:
        if unknown := _UNKNOWN.search(str(error)):
            name = shown(unknown[1])
            raise InvalidField(f"{name}: there is no such field.", field=name) from None
        raise MalformedRequest("The body must be a JSON object.") from None
    views = {name: memoryview(getattr(found, name)) for name in _Slices.__struct_fields__}
    return {name: view for name, view in views.items() if len(view)}


def loads(part: bytes) -> Any:
    """JSON, strictly. A whole number is an int however it is written. Raises ValueError,
    RecursionError."""
    return json.loads(part, parse_constant=_refuse_constant, parse_float=_number)


def _number(text: str) -> int | float:
    value = float(text)
    return int(value) if value.is_integer() else value


def _image(quoted: memoryview) -> bytes:
    """Base64 in quotation marks, spaces allowed, decoded."""
    if quoted[0] != ord('"'):
        raise InvalidField("'image' must be a base64 string.", field="image")
    # Of its full size at once: grown piece by piece it would be copied within a fragmented heap.
    data, held, ended = io.BytesIO(bytes(len(quoted) * 3 // 4)), b"", False
    for piece in _pieces(quoted[1:-1]):
        text = loads(b'"%b"' % piece)
        try:
            letters = held + text.encode("ascii").translate(*_SPACE)
            whole = len(letters) // 4 * 4
            if ended and letters:
                raise binascii.Error
            data.write(binascii.a2b_base64(letters[:whole], strict_mode=True))
        except (binascii.Error, UnicodeEncodeError):
            raise InvalidField(_NOT_BASE64, field="image") from None
        held, ended = letters[whole:], ended or letters[:whole].endswith(b"=")
    if held:
        raise InvalidField(_NOT_BASE64, field="image")
    if not data.tell():
        raise InvalidField("'image' is empty.", field="image")
    data.truncate()
    return data.getvalue()


def _pieces(text: memoryview) -> Iterator[bytes]:
    """Slices of a JSON string, none of which ends within an escape."""
    at = 0
    while at < len(text):
        piece = bytes(text[at : at + _PIECE_BYTES])
        if at + len(piece) < len(text):
            escape = piece.rfind(b"\\", max(1, len(piece) - _LONGEST_ESCAPE))
            piece = piece[:escape] if escape > 0 else piece
        yield piece
        at += len(piece)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def shown(name: str) -> str:
    """A field name of the caller's, fit to be sent back."""
    return "".join(letter for letter in name[:64] if letter.isascii() and letter.isprintable())
