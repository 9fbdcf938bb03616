"""The operations that the synchronous and the asynchronous client share, as generators of steps."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx

from wise_client import errors
from wise_client.events import EventDecoder
from wise_client.inputs import ImageInput, PreparedImage, Source, keep, prepare
from wise_client.known import Known, KnownImages, fingerprint
from wise_client.parts import Frame
from wise_client.prompts import Change, Prompt
from wise_client.requests import (
    Options,
    RefineOptions,
    Request,
    as_json,
    check_query,
    checked_queries,
    multipart,
    of_known,
    refine,
)
from wise_client.results import Refines, Segmentation
from wise_client.retry import RetryPolicy
from wise_client.steps import Steps, Work, is_event_stream, send


@dataclass(frozen=True)
class Sending:
    """A request in its two forms: with the whole image, and with the digest of a known one."""

    whole: Callable[[PreparedImage], Request]
    named: Callable[[Known], Request]
    stream: bool = False


@dataclass(frozen=True)
class Sent:
    """An answered request about an image; `key` is the image's fingerprint. named: it contained the
    image's digest alone."""

    response: httpx.Response
    source: Source
    key: str
    frame: Frame
    named: bool


@dataclass(frozen=True)
class OpenStream:
    """An event stream whose headers have come."""

    sent: Sent
    decoder: EventDecoder
    request_id: str


class Core:
    """The operations, without input and output."""

    def __init__(
        self,
        retry: RetryPolicy,
        clock: Callable[[], float] = time.monotonic,
        client: Refines | None = None,
    ) -> None:
        """`client`: the one that the results' `refine` uses."""
        self._retry = retry
        self._clock = clock
        self._client = client
        self._known = KnownImages()

    def info(self) -> Steps[dict[str, Any]]:
        """GET /info. Raises TransportError or APIError."""
        response = yield from self._send(Request("GET", "/info"))
        document = _document(response)
        if not isinstance(document, dict):
            raise _unexpected(response)
        return document

    def segment(self, image: ImageInput, query: str, options: Options) -> Steps[Segmentation]:
        """One query about one image. Raises as `Client.segment`."""
        check_query(query)
        sending = Sending(
            lambda prepared: multipart(prepared, query, options),
            lambda known: of_known(known.digest, query, options),
        )
        sent = yield from self._ask(image, options.max_side_pixels, sending)
        return self._answers(sent, [query])[0]

    def segment_queries(
        self, image: ImageInput, queries: Sequence[str], options: Options
    ) -> Steps[list[Segmentation]]:
        """Several queries about one image, answered in their order. Raises as `Client.segment`."""
        queries = checked_queries(queries)
        sending = Sending(
            lambda prepared: as_json(prepared, queries, options),
            lambda known: of_known(known.digest, queries, options),
        )
        sent = yield from self._ask(image, options.max_side_pixels, sending)
        return self._answers(sent, queries)

    def open_stream(
        self, image: ImageInput, query: str | Sequence[str], options: Options
    ) -> Steps[OpenStream]:
        """Send a request whose answer is read as it comes. Raises as `Client.stream`."""
        queries = checked_queries([query] if isinstance(query, str) else query)

        def whole(prepared: PreparedImage) -> Request:
            if isinstance(query, str):
                return multipart(prepared, query, options, stream=True)
            return as_json(prepared, queries, options, stream=True)

        sending = Sending(
            whole, lambda known: of_known(known.digest, query, options, stream=True), stream=True
        )
        sent = yield from self._ask(image, options.max_side_pixels, sending)
        response = sent.response
        if not is_event_stream(response):
            raise _unexpected(response)

        def read(document: Any) -> list[Segmentation]:
            return self._answers(sent, queries, document)

        request_id = _request_id(response)
        return OpenStream(sent, EventDecoder(sent.frame, request_id, read), request_id)

    def sends_again(self, opened: OpenStream) -> bool:
        """Whether to open a stream again that ended with ImageUnknownError: it contained the digest
        alone, and no event has come. The next one contains the whole image."""
        self._known.forget(opened.sent.key)
        return opened.sent.named and not opened.decoder.begun

    def refine(
        self, image: ImageInput, prompts: Sequence[Prompt], options: RefineOptions
    ) -> Steps[Segmentation]:
        """Masks of prompts, without the reasoner. Raises as `Client.refine`."""
        if not prompts:
            raise errors.InputError("prompts is a list of at least one Prompt")

        def documents(frame: Frame) -> list[dict[str, Any]]:
            return [prompt.document(frame) for prompt in prompts]

        sending = Sending(
            lambda prepared: refine(prepared, documents(_frame_of(prepared)), options),
            lambda known: refine(known.digest, documents(known.frame), options),
        )
        sent = yield from self._ask(image, options.max_side_pixels, sending)
        return self._answers(sent, [""])[0]

    def refine_instance(
        self, result: Segmentation, index: int, change: Change
    ) -> Steps[Segmentation]:
        """One instance of a result, changed. Raises as `Segmentation.refine`."""
        if result.source is None:
            raise errors.InputError("This result does not know its image; use client.refine")
        prompt = change.prompt(result.instances[index])
        frame = result.instances[index].frame
        options = RefineOptions(max_side_pixels=None if frame.same else max(frame.sent_size))
        answer = yield from self.refine(result.source, [prompt], options)
        return result.with_instance(index, answer)

    def _ask(self, image: ImageInput, max_side_pixels: int | None, sending: Sending) -> Steps[Sent]:
        """Send the image's digest if the server has the image; otherwise, or if the server has
        evicted it, the whole image."""
        source = keep(image)
        key: str = yield Work(lambda: fingerprint(source, max_side_pixels))
        known = self._known.get(key)
        if known is not None:
            request: Request = yield Work(lambda: sending.named(known).about(key))
            try:
                response = yield from self._send(request, stream=sending.stream)
                return Sent(response, source, key, known.frame, named=True)
            except errors.ImageUnknownError:
                self._known.forget(key)
        prepared: PreparedImage = yield Work(lambda: prepare(source, max_side_pixels))
        request = yield Work(lambda: sending.whole(prepared).about(key))
        response = yield from self._send(request, stream=sending.stream)
        return Sent(response, source, key, _frame_of(prepared), named=False)

    def _send(self, request: Request, *, stream: bool = False) -> Steps[httpx.Response]:
        return send(request, self._retry, self._clock, stream=stream)

    def _answers(
        self, sent: Sent, queries: Sequence[str], document: Any = None
    ) -> list[Segmentation]:
        """The answers of a response, in the order of `queries`; its image is known from now on.

        `document`: where it is not the response's body.
        """
        response = sent.response
        document = _document(response) if document is None else document
        several = isinstance(document, dict) and "results" in document
        documents = document["results"] if several else [document]
        if not isinstance(documents, list) or len(documents) != len(queries):
            raise _unexpected(response)
        try:
            found = [
                replace(
                    Segmentation.from_dict(one, query=query, image=sent.source, frame=sent.frame),
                    client=self._client,
                )
                for one, query in zip(documents, queries, strict=True)
            ]
        except errors.UnexpectedAnswerError as error:
            error.status, error.request_id = response.status_code, _request_id(response)
            raise
        if digest := found[0].image_digest:
            self._known.put(sent.key, Known(digest, sent.frame))
        return found


def _document(response: httpx.Response) -> Any:
    try:
        return json.loads(response.content)
    except ValueError as error:
        raise _unexpected(response) from error


def _frame_of(image: PreparedImage) -> Frame:
    return Frame(image.sent_size, image.original_size)


def _request_id(response: httpx.Response) -> str:
    return response.headers.get("x-request-id") or response.request.headers["x-request-id"]


def _unexpected(response: httpx.Response) -> errors.UnexpectedAnswerError:
    return errors.UnexpectedAnswerError(
        f"{response.request.url} does not answer as wise-serve does; is the address right?",
        status=response.status_code,
        request_id=_request_id(response),
    )
