"""The body of `POST /segment`, JSON or form, to one `Job`. Every refusal says what to do."""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from wise_serve.errors import InvalidField, MalformedRequest, TooLarge, UnsupportedMediaType
from wise_serve.images import ImageThreads
from wise_serve.schemas import SegmentOptions
from wise_serve.settings import Settings

_JSON: Final = "application/json"
_FORM: Final = "multipart/form-data"
_SINGLE_FIELDS: Final = 16  # fields of a form besides `queries`, with room for misspelt ones
_LIST_FIELDS: Final = frozenset({"queries"})
_SPACE: Final = bytes.maketrans(b"", b""), b" \t\r\n"


@dataclass(frozen=True, slots=True)
class SegmentForm:
    """A request as it came in: the encoded image and the checked options."""

    image: bytes
    options: SegmentOptions


class FormReader:
    """Reads bodies within the limits of the settings."""

    def __init__(self, settings: Settings, threads: ImageThreads) -> None:
        self._settings = settings
        self._threads = threads

    async def read(self, request: Request) -> SegmentForm:
        """Raises MalformedRequest, UnsupportedMediaType, InvalidField, TooLarge."""
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type == _FORM:
            return await self._read_form(request)
        if media_type == _JSON:
            body = await request.body()
            return await self._threads.run(self._read_json, body)
        raise UnsupportedMediaType(f"Send the request as {_FORM} or {_JSON}.")

    async def _read_form(self, request: Request) -> SegmentForm:
        parser = MultiPartParser(
            _latin_1(request.headers),
            request.stream(),
            max_files=1,
            max_fields=_SINGLE_FIELDS + self._settings.max_queries,
            max_part_size=self._settings.max_body_bytes,
        )
        parser.spool_max_size = self._settings.max_body_bytes  # stay in memory, off the disk
        try:
            form = await parser.parse()
        except MultiPartException as error:
            raise MalformedRequest(f"The form could not be read: {error.message}") from None
        except (KeyError, ValueError, AssertionError):
            raise MalformedRequest("The form could not be read.") from None
        try:
            return await self._take_form(form)
        finally:
            await form.close()

    async def _take_form(self, form: FormData) -> SegmentForm:
        fields: dict[str, Any] = {}
        image: bytes | None = None
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if name != "image":
                    raise InvalidField("Only 'image' is taken as a file.", field=_shown(name))
                image = await value.read()
            elif name == "image":
                raise InvalidField("Send 'image' as a file, with a file name.", field="image")
            else:
                _put(fields, _text(name), _text(value))
        return self._checked(fields, image)

    def _read_json(self, body: bytes) -> SegmentForm:
        try:
            fields = json.loads(body, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            raise MalformedRequest("The body is not valid JSON.") from None
        if not isinstance(fields, dict):
            raise MalformedRequest("The body must be a JSON object.")
        image = fields.pop("image", None)
        if image is not None and not isinstance(image, str):
            raise InvalidField("'image' must be a base64 string.", field="image")
        return self._checked(fields, None if image is None else _base64(image))

    def _checked(self, fields: dict[str, Any], image: bytes | None) -> SegmentForm:
        if image is None:
            raise MalformedRequest("The field 'image' is missing.")
        if "query" not in fields and "queries" not in fields:
            raise MalformedRequest("The field 'query' is missing.")
        self._check_sizes(fields)
        try:
            options = SegmentOptions.model_validate(fields)
        except ValidationError as error:
            _raise_first(error)
        return SegmentForm(image, options)

    def _check_sizes(self, fields: dict[str, Any]) -> None:
        queries = fields.get("queries")
        many = queries if isinstance(queries, list) else []
        if len(many) > self._settings.max_queries:
            raise TooLarge(f"At most {self._settings.max_queries} queries are taken at once.")
        limit = self._settings.max_query_characters
        texts = [text for text in (fields.get("query"), *many) if isinstance(text, str)]
        if any(len(text) > limit for text in texts):
            raise TooLarge(f"A query may have at most {limit} characters.")


def _latin_1(headers: Headers) -> Headers:
    """The headers with the form's charset set to one that loses no byte.

    The parser would decode by a charset of the caller's choice, and put Latin-1 in place of UTF-8
    that does not decode. So it decodes as Latin-1 always, and `_text` reads the bytes strictly.
    """
    parts = [part for part in headers["content-type"].split(";") if "boundary" in part.lower()]
    return Headers({"content-type": "; ".join([_FORM, *parts, "charset=latin-1"])})


def _text(latin_1: str) -> str:
    try:
        return latin_1.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidField("A field of the form is not UTF-8 text.") from None


def _put(fields: dict[str, Any], name: str, value: str) -> None:
    if name in _LIST_FIELDS:
        fields.setdefault(name, []).append(value)
    elif name in fields:
        raise InvalidField("The field is given twice.", field=_shown(name))
    else:
        fields[name] = value


def _base64(text: str) -> bytes:
    try:
        data = base64.b64decode(text.encode("ascii").translate(*_SPACE), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise InvalidField(
            "'image' is not base64 (plain, without a 'data:' prefix).", field="image"
        ) from None
    if not data:
        raise InvalidField("'image' is empty.", field="image")
    return data


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _raise_first(error: ValidationError) -> NoReturn:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    names = [part for part in first["loc"] if isinstance(part, str)]
    name = _shown(names[0]) if names else None
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "there is no such field"
    raise InvalidField(f"{name or 'The request'}: {message}.", field=name)


def _shown(name: str) -> str:
    """A field name of the caller's, fit to be sent back."""
    return "".join(letter for letter in name[:64] if letter.isascii() and letter.isprintable())
