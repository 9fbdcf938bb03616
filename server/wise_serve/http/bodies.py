"""Reads the body of a request, JSON or form: its image and its checked options."""

import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, NoReturn, TypeVar

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
from wise_serve.contract.refining import RefineOptions
from wise_serve.contract.schemas import AnswerOptions, SegmentOptions
from wise_serve.http.jsonbody import loads, read_json, shown, slices_of
from wise_serve.http.multipart import FormParser
from wise_serve.imaging.images import ImageThreads
from wise_serve.pipeline.arrival import Sent
from wise_serve.settings import Settings

_JSON: Final = "application/json"
_FORM: Final = "multipart/form-data"
_FIELDS: Final = 16  # of a form, besides `queries`; with room for misspelt ones
_UTF_8_BYTES: Final = 4  # of one character, at most
_ESCAPED_BYTES: Final = 12  # of one character in JSON, at most: a pair of \uXXXX
_LIST_FIELDS: Final = frozenset({"queries"})
_TYPED_FIELDS: Final = frozenset({"max_instances", "stream", "multimask"})
_JSON_FIELDS: Final = frozenset({"prompts"})  # the others are texts
_PROMPTS_BYTES: Final = 2 * 2**20  # of `prompts`: ample for masks as RLE
_FIELD_BYTES: Final = 65_536  # a text of a form, and what is not queries in JSON: ample


OptionsT = TypeVar("OptionsT", bound=AnswerOptions)


@dataclass(frozen=True, slots=True)
class ReadBody(Generic[OptionsT]):
    """The contents of a body: its image, or the image's digest, and the checked options."""

    image: Sent
    options: OptionsT


class BodyReader(Generic[OptionsT]):
    """Reads bodies of one route within the limits of the settings."""

    def __init__(
        self,
        settings: Settings,
        threads: ImageThreads,
        options: type[OptionsT],
        check: Callable[[dict[str, Any], Settings], None],
        *,
        most_fields: int,
        longest_field_bytes: int,
        most_json_bytes: int,
    ) -> None:
        """`check` is called with the fields before they become `options`, and raises if one is
        missing or too large. most_fields, longest_field_bytes: of a form. most_json_bytes: of all
        fields but the image in JSON."""
        self._settings, self._threads = settings, threads
        self._options, self._check = options, check
        self._most_fields, self._longest_field_bytes = most_fields, longest_field_bytes
        self._slices, self._most_json_bytes = slices_of(options.model_fields), most_json_bytes

    async def read(self, request: Request) -> ReadBody[OptionsT]:
        """Raises MalformedRequest, UnsupportedMediaType, InvalidField, TooLarge."""
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type == _FORM:
            return await self._read_form(request)
        if media_type == _JSON:
            return await self._threads.run(self._read_json, await self._whole(request))
        raise UnsupportedMediaType(f"Send the request as {_FORM} or {_JSON}.")

    async def _whole(self, request: Request) -> memoryview:
        """The body, in anonymous memory pages, which the operating system provides when they are
        written and gets back as a whole. A growing bytearray may be copied within the heap, where
        it needs twice its size for a moment and causes fragmentation."""
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        pages = mmap.mmap(-1, self._settings.max_body_bytes, flags=private)
        async for part in request.stream():
            pages.write(part)
        return memoryview(pages)[: pages.tell()]

    async def _read_form(self, request: Request) -> ReadBody[OptionsT]:
        try:
            parser = FormParser(
                request.headers["content-type"],
                request.stream(),
                max_fields=self._most_fields,
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

    async def _take_form(self, form: FormData) -> ReadBody[OptionsT]:
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

    def _read_json(self, body: memoryview) -> ReadBody[OptionsT]:
        image, fields = read_json(body, self._slices, self._most_json_bytes)
        return self._checked(fields, image)

    def _checked(self, fields: dict[str, Any], image: bytes | None) -> ReadBody[OptionsT]:
        digest = fields.get("image_digest")
        if image is None and digest is None:
            raise MalformedRequest("The field 'image' is missing.")
        if image is not None and digest is not None:
            raise InvalidField(
                "Exactly one of 'image' and 'image_digest' is needed.", field="image_digest"
            )
        self._check(fields, self._settings)
        try:
            options = self._options.model_validate(fields, strict=True)
        except ValidationError as error:
            _raise_first(error)
        return ReadBody(Sent(image, options.image_digest), options)


def segment_bodies(settings: Settings, threads: ImageThreads) -> BodyReader[SegmentOptions]:
    """Reads the bodies of POST /segment."""
    characters = settings.max_query_characters
    return BodyReader(
        settings,
        threads,
        SegmentOptions,
        _check_queries,
        most_fields=_FIELDS + settings.max_queries,
        longest_field_bytes=max(_FIELD_BYTES, _UTF_8_BYTES * characters),
        most_json_bytes=_FIELD_BYTES + _ESCAPED_BYTES * characters * settings.max_queries,
    )


def refine_bodies(settings: Settings, threads: ImageThreads) -> BodyReader[RefineOptions]:
    """Reads the bodies of POST /refine."""
    return BodyReader(
        settings,
        threads,
        RefineOptions,
        _check_prompts,
        most_fields=_FIELDS,
        longest_field_bytes=_PROMPTS_BYTES,
        most_json_bytes=_FIELD_BYTES + _PROMPTS_BYTES,
    )


def _check_queries(fields: dict[str, Any], settings: Settings) -> None:
    if "query" not in fields and "queries" not in fields:
        raise MalformedRequest("The field 'query' is missing.")
    queries = fields.get("queries")
    many = queries if isinstance(queries, list) else []
    if len(many) > settings.max_queries:
        raise TooLarge(f"At most {settings.max_queries} queries may be asked at once.")
    limit = settings.max_query_characters
    texts = [text for text in (fields.get("query"), *many) if isinstance(text, str)]
    if any(len(text) > limit for text in texts):
        raise TooLarge(f"A query may have at most {limit} characters.")


def _check_prompts(fields: dict[str, Any], settings: Settings) -> None:
    if "prompts" not in fields:
        raise MalformedRequest("The field 'prompts' is missing.")
    prompts = fields["prompts"] if isinstance(fields["prompts"], list) else []
    if len(prompts) > settings.max_prompts:
        raise TooLarge(f"At most {settings.max_prompts} prompts may be sent at once.")
    points = [one.get("points") for one in prompts if isinstance(one, dict)]
    if any(isinstance(some, list) and len(some) > settings.max_points for some in points):
        raise TooLarge(f"A prompt may have at most {settings.max_points} points.")


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
        fields[name] = _typed(name, value)


def _typed(name: str, text: str) -> Any:
    """A field's value: a text; a number or a boolean, written as in JSON, or as Python writes
    `True`; or JSON."""
    if name not in _TYPED_FIELDS | _JSON_FIELDS:
        return text
    try:
        return loads((text if name in _JSON_FIELDS else text.lower()).encode())
    except (ValueError, RecursionError):
        return text  # the field's type refuses it


def _raise_first(error: ValidationError) -> NoReturn:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    name = shown(str(first["loc"][0])) if first["loc"] else None
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "there is no such field"
    raise InvalidField(f"{_path(first['loc']) or 'The request'}: {message}.", field=name)


def _path(location: Sequence[str | int]) -> str:
    """Where in the body: `prompts[0].points[2].label`."""
    parts = (f"[{one}]" if isinstance(one, int) else f".{one}" for one in location)
    return shown("".join(parts).removeprefix("."))
