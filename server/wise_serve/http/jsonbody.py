"""Reads the image and the other fields of a JSON body, in little more memory than the body's own.

Why not `json.loads` or one typed decode of everything: Python's lists and dictionaries may need
thirty times the memory of their JSON, and msgspec makes a second copy of a base64 text with
escapes. So msgspec finds the fields as slices of the body first. The image is then decoded by
msgspec, the rest is made into objects only if it is short (docs/decisions/0014).
"""

import binascii
import codecs
import io
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NoReturn

import msgspec

from wise_serve.contract.errors import InvalidField, MalformedRequest, TooLarge

_PIECE_BYTES: Final = 1 << 18
_LONGEST_ESCAPE: Final = len(rb"\u002b")
_SPACE: Final = bytes.maketrans(b"", b""), b" \t\r\n"
_UNKNOWN: Final = re.compile(r"unknown field `(.*)`", re.DOTALL)
_HALF_A_PAIR: Final = re.compile(
    rb"\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F]", re.DOTALL
)
_NOT_BASE64: Final = "'image' is not base64 (plain, without a 'data:' prefix)."


def slices_of(names: Iterable[str]) -> type[msgspec.Struct]:
    """For `read_json`: a body of an image and these fields, each as a slice; b"" if missing."""
    return msgspec.defstruct(
        "Slices",
        [(name, msgspec.Raw, msgspec.Raw(b"")) for name in ("image", *names)],
        forbid_unknown_fields=True,
    )


def read_json(
    body: bytes | memoryview, slices_type: type[msgspec.Struct], most_bytes: int
) -> tuple[bytes | None, dict[str, Any]]:
    """The image's bytes (None: missing) and the other fields, unchecked.

    `slices_type`: made by `slices_of`. `most_bytes`: the length that the other fields may have
    together. Raises MalformedRequest, InvalidField, TooLarge.
    """
    try:
        slices = _slices(body, slices_type)
        image = slices.pop("image", None)
        if sum(map(len, slices.values())) > most_bytes:
            raise TooLarge(f"The fields beside the image may have at most {most_bytes} bytes.")
        fields = {name: loads(bytes(part)) for name, part in slices.items()}
        return (None if image is None or bytes(image[:4]) == b"null" else _image(image)), fields
    except (msgspec.DecodeError, ValueError, RecursionError):
        if _HALF_A_PAIR.search(body):
            raise InvalidField(
                "A text contains half of a surrogate pair, which is not text."
            ) from None
        raise MalformedRequest("The body is not valid JSON.") from None


def _slices(body: bytes | memoryview, slices_type: type[msgspec.Struct]) -> dict[str, memoryview]:
    marked = bytes(body[: len(codecs.BOM_UTF8)]) == codecs.BOM_UTF8
    text = memoryview(body)[len(codecs.BOM_UTF8) if marked else 0 :]
    try:
        found = msgspec.json.decode(text, type=slices_type)
    except msgspec.ValidationError as error:
        if unknown := _UNKNOWN.search(str(error)):
            name = shown(unknown[1])
            raise InvalidField(f"{name}: there is no such field.", field=name) from None
        raise MalformedRequest("The body must be a JSON object.") from None
    views = {name: memoryview(getattr(found, name)) for name in slices_type.__struct_fields__}
    return {name: view for name, view in views.items() if len(view)}


def loads(part: bytes) -> Any:
    """JSON, strictly. A whole number is an int however it is written. Raises ValueError,
    RecursionError."""
    return json.loads(part, parse_constant=_refuse_constant, parse_float=_number)


def _number(text: str) -> int | float:
    value = float(text)
    return int(value) if value.is_integer() else value


def _image(quoted: memoryview) -> bytes:
    """The bytes of a base64 string, given with its quotation marks."""
    if quoted[0] != ord('"'):
        raise InvalidField("'image' must be a base64 string.", field="image")
    data = _plain(quoted) or _with_white_space(quoted[1:-1])
    if not data:
        raise InvalidField("'image' is empty.", field="image")
    return data


def _plain(quoted: memoryview) -> bytes | None:
    """Base64 without white space or escapes, as in nearly all requests; None for anything else,
    also for wrong base64."""
    starts = range(0, len(quoted), _PIECE_BYTES)
    if any(b"\\" in bytes(quoted[at : at + _PIECE_BYTES]) for at in starts):
        return None
    try:
        return msgspec.json.decode(quoted, type=bytes)
    except msgspec.ValidationError:
        return None


def _with_white_space(text: memoryview) -> bytes:
    """Base64 with line breaks, as MIME has it, or with escapes, as PHP writes every '/'.

    Decoded piece by piece: slower, in no more memory than the image needs.
    """
    # Allocated at its full size: if it grew piece by piece, it would be copied within a fragmented
    # heap.
    data, held, ended = io.BytesIO(bytes(len(text) * 3 // 4)), b"", False
    for piece in _pieces(text):
        try:
            letters = held + loads(b'"%b"' % piece).encode("ascii").translate(*_SPACE)
            whole = len(letters) // 4 * 4
            if ended and letters:
                raise binascii.Error
            data.write(binascii.a2b_base64(letters[:whole], strict_mode=True))
        except (binascii.Error, UnicodeEncodeError):
            raise InvalidField(_NOT_BASE64, field="image") from None
        held, ended = letters[whole:], ended or letters[:whole].endswith(b"=")
    if held:
        raise InvalidField(_NOT_BASE64, field="image")
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
    """The printable ASCII of a field name that the caller chose, to be sent back in an error."""
    return "".join(letter for letter in name[:64] if letter.isascii() and letter.isprintable())
