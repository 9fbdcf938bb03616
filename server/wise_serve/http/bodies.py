"""The body of `POST /segment`, JSON or form, to its image and its checked options."""

import mmap
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException

from wise_serve.contract.errors import (
    InvalidField,
    MalformedRequest,
    TooLarge,
    UnsupportedMediaType,
)
from wise_serve.contract.schemas import SegmentOptions
from wise_serve.http.jsonbody import loads, read_json, shown
from wise_serve.http.multipart import FormParser
from wise_serve.imaging.images import ImageThreads
from wise_serve.settings import Settings

_JSON: Final = "application/json"
_FORM: Final = "multipart/form-data"
_SINGLE_FIELDS: Final = 16  # fields of a form besides `queries`, with room for misspelt ones
_UTF_8_BYTES: Final = 4  # of one character, at most
_ESCAPED_BYTES: Final = 12  # of one character in JSON, at most: a pair of \uXXXX
_LIST_FIELDS: Final = frozenset({"queries"})
_TYPED_FIELDS: Final = frozenset({"max_instances", "stream"})  # the others are texts
_FIELD_BYTES: Final = 65_536  # a text of a form, and what is not queries in JSON: ample


@dataclass(frozen=True, slots=True)
class SegmentBody:
    """What a body holds: the image as it was encoded, and the checked options."""

    image: bytes
    options: SegmentOptions


class BodyReader:
    """Reads bodies within the limits of the settings."""

    def __init__(self, settings: Settings, threads: ImageThreads) -> None:
        self._settings = settings
        self._threads = threads
        characters = settings.max_query_characters
        self._longest_field_bytes = max(_FIELD_BYTES, _UTF_8_BYTES * characters)
        self._most_json_bytes = _FIELD_BYTES + _ESCAPED_BYTES * characters * settings.max_queries

    async def read(self, request: Request) -> SegmentBody:
        """Raises MalformedRequest, UnsupportedMediaType, InvalidField, TooLarge."""
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type == _FORM:
            return await self._read_form(request)
        if media_type == _JSON:
            return await self._threads.run(self._read_json, await self._whole(request))
        raise UnsupportedMediaType(f"Send the request as {_FORM} or {_JSON}.")

    async def _whole(self, request: Request) -> memoryview:
        """The body. It lies in pages of its own, which the operating system provides when they are
        written and gets back as a whole: a bytearray that grows may be copied within the heap,
        where it needs twice its size for a moment and leaves holes."""
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        pages = mmap.mmap(-1, self._settings.max_body_bytes, flags=private)
        async for part in request.stream():
            pages.write(part)
        return memoryview(pages)[: pages.tell()]

    async def _read_form(self, request: Request) -> SegmentBody:
        try:
            parser = FormParser(
                request.headers["content-type"],
                request.stream(),
                max_fields=_SINGLE_FIELDS + self._settings.max_queries,
                max_field_bytes=self._longest_field_bytes,
                max_body_bytes=self._settings.max_body_bytes,
            )
            form = await parser.parse()
        except MultiPartException as error:
            if error.message.startswith("Part exceeded"):
                limit = self._longest_field_bytes
                raise TooLarge(f"A field may have at most {limit} bytes.") from None
            raise MalformedRequest(f"The form could not be read: {error.message}") from None
        except (KeyError, ValueError, AssertionError):
            raise MalformedRequest("The form could not be read.") from None
        try:
            return await self._take_form(form)
        finally:
            await form.close()

    async def _take_form(self, form: FormData) -> SegmentBody:
        fields: dict[str, Any] = {}
        image: bytes | None = None
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if name != "image":
                    raise InvalidField("Only 'image' may be a file.", field=shown(name))
                # `_file`, which Python documents: here a BytesIO, whose value needs no second copy.
                image = value.file._file.getvalue()  # type: ignore[attr-defined]
            elif name == "image":
                raise InvalidField("Send 'image' as a file, with a file name.", field="image")
            else:
                _put(fields, _text(name), _text(value))
        return self._checked(fields, image)

    def _read_json(self, body: memoryview) -> SegmentBody:
        image, fields = read_json(body, self._most_json_bytes)
        return self._checked(fields, image)

    def _checked(self, fields: dict[str, Any], image: bytes | None) -> SegmentBody:
        if image is None:
            raise MalformedRequest("The field 'image' is missing.")
        if "query" not in fields and "queries" not in fields:
            raise MalformedRequest("The field 'query' is missing.")
        self._check_sizes(fields)
        try:
            options = SegmentOptions.model_validate(fields, strict=True)
        except ValidationError as error:
            _raise_first(error)
        return SegmentBody(image, options)

    def _check_sizes(self, fields: dict[str, Any]) -> None:
        queries = fields.get("queries")
        many = queries if isinstance(queries, list) else []
        if len(many) > self._settings.max_queries:
            raise TooLarge(f"At most {self._settings.max_queries} queries may be asked at once.")
        limit = self._settings.max_query_characters
        texts = [text for text in (fields.get("query"), *many) if isinstance(text, str)]
        if any(len(text) > limit for text in texts):
            raise TooLarge(f"A query may have at most {limit} characters.")


def _text(latin_1: str) -> str:
    """A text of the form, read as UTF-8 without replacing anything. Raises InvalidField."""
    try:
        return latin_1.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidField("A field of the form is not UTF-8 text.") from None


def _put(fields: dict[str, Any], name: str, value: str) -> None:
    if name in _LIST_FIELDS:
        fields.setdefault(name, []).append(value)
    elif name in fields:
        raise InvalidField("The field is given twice.", field=shown(name))
    else:
        fields[name] = _typed(value) if name in _TYPED_FIELDS else value


def _typed(text: str) -> Any:
    """A number or a boolean of a form, written as in JSON, or as Python writes `True`."""
    try:
        return loads(text.lower().encode())
    except (ValueError, RecursionError):
        return text  # which the field's type refuses


def _raise_first(error: ValidationError) -> NoReturn:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    names = [part for part in first["loc"] if isinstance(part, str)]
    name = shown(names[0]) if names else None
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "there is no such field"
    raise InvalidField(f"{name or 'The request'}: {message}.", field=name)
