"""Everything that the synchronous and the asynchronous client share: all but the waiting.

An operation is a generator of steps (`Work`, `Pause`, `Send`). A client performs each step, sends
its result back in or throws its exception in, and gives what the generator returns.
"""

import itertools
import json
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import httpx

from wise_client import errors
from wise_client.events import EventDecoder
from wise_client.inputs import ImageInput, PreparedImage, prepare
from wise_client.parts import Frame
from wise_client.problems import from_answer
from wise_client.requests import Options, Request, as_json, check_query, checked_queries, multipart
from wise_client.results import Segmentation
from wise_client.retry import RetryPolicy, SendTrace, may_resend

T = TypeVar("T")


@dataclass(frozen=True)
class Work:
    """Something that takes time without the network: files, image encoding."""

    call: Callable[[], Any]


@dataclass(frozen=True)
class Pause:
    """A wait before a retry."""

    seconds: float


@dataclass(frozen=True)
class Send:
    """One attempt of a request. With `stream`, an answer that is an event stream is left unread."""

    request: Request
    trace: SendTrace
    stream: bool


Step: TypeAlias = Work | Pause | Send
Steps: TypeAlias = Generator[Step, Any, T]


@dataclass(frozen=True)
class OpenStream:
    """An event stream whose headers have come."""

    response: httpx.Response
    decoder: EventDecoder
    request_id: str


class Core:
    """The operations, free of input and output."""

    def __init__(self, retry: RetryPolicy, clock: Callable[[], float] = time.monotonic) -> None:
        self._retry = retry
        self._clock = clock

    def info(self) -> Steps[dict[str, Any]]:
        response = yield from self._send(Request("GET", "/info"))
        document = _document(response)
        if not isinstance(document, dict):
            raise _unexpected(response)
        return document

    def segment(self, image: ImageInput, query: str, options: Options) -> Steps[Segmentation]:
        check_query(query)
        prepared: PreparedImage = yield Work(lambda: prepare(image, options.max_side_pixels))
        response = yield from self._send(multipart(prepared, query, options))
        return _answers(_document(response), prepared, [query], response)[0]

    def segment_queries(
        self, image: ImageInput, queries: Sequence[str], options: Options
    ) -> Steps[list[Segmentation]]:
        queries = checked_queries(queries)
        prepared: PreparedImage = yield Work(lambda: prepare(image, options.max_side_pixels))
        request: Request = yield Work(lambda: as_json(prepared, queries, options))
        response = yield from self._send(request)
        return _answers(_document(response), prepared, queries, response)

    def open_stream(
        self, image: ImageInput, query: str | Sequence[str], options: Options
    ) -> Steps[OpenStream]:
        queries = checked_queries([query] if isinstance(query, str) else query)
        prepared: PreparedImage = yield Work(lambda: prepare(image, options.max_side_pixels))
        if isinstance(query, str):
            request = multipart(prepared, query, options, stream=True)
        else:
            request = yield Work(lambda: as_json(prepared, queries, options, stream=True))
        response = yield from self._send(request, stream=True)
        if not is_event_stream(response):
            raise _unexpected(response)

        def read(document: Any) -> list[Segmentation]:
            return _answers(document, prepared, queries, response)

        frame = Frame(prepared.sent_size, prepared.original_size)
        request_id = _request_id(response)
        return OpenStream(response, EventDecoder(frame, request_id, read), request_id)

    def _send(self, request: Request, *, stream: bool = False) -> Steps[httpx.Response]:
        """Send until it is answered or must not be sent again; see `wise_client.retry`."""
        for retry in itertools.count():
            trace = SendTrace(self._clock)
            try:
                response: httpx.Response = yield Send(request, trace, stream)
                if response.status_code == 200:
                    return response
                failure: errors.WiseClientError = from_answer(
                    response.status_code, response.headers, response.content, request.id
                )
            except httpx.RequestError as error:
                failure = transport_failure(error, request.id)
            if not may_resend(failure, trace, self._retry):
                raise failure
            wait_s = self._retry.wait_s(retry, getattr(failure, "retry_after_s", None))
            if wait_s is None:
                raise failure
            yield Pause(wait_s)
        raise AssertionError  # itertools.count() does not end


def is_event_stream(response: httpx.Response) -> bool:
    """Whether a request for a stream got one, and not an error or another server's page."""
    kind: str = response.headers.get("content-type", "")
    return response.status_code == 200 and kind.startswith("text/event-stream")


def transport_failure(error: httpx.RequestError, request_id: str) -> errors.WiseClientError:
    """httpx's exception as one of this package."""
    phases: dict[type[httpx.RequestError], str] = {
        httpx.ConnectTimeout: "connect",
        httpx.WriteTimeout: "write",
        httpx.ReadTimeout: "read",
        httpx.PoolTimeout: "pool",
    }
    phase = phases.get(type(error))
    if phase is not None:
        timed_out = errors.TimedOutError(_TIMED_OUT[phase], request_id=request_id)
        timed_out.phase = phase
        return timed_out
    if isinstance(error, httpx.DecodingError):
        return errors.UnexpectedAnswerError(f"The answer is garbled: {error}")
    kind: type[errors.TransportError] = errors.ConnectionLostError
    text = "The connection was lost before the answer was complete"
    if isinstance(error, httpx.ConnectError | httpx.ProxyError):
        kind, text = errors.ConnectFailedError, "The server could not be reached"
    reason = str(error)
    return kind(f"{text}: {reason}" if reason else text, request_id=request_id)


_TIMED_OUT = {
    "connect": "The server did not accept the connection in time",
    "write": "The server did not take the request in time",
    "read": "The server did not answer in time",
    "pool": "No connection came free in time; raise max_connections",
}


def _document(response: httpx.Response) -> Any:
    try:
        return json.loads(response.content)
    except ValueError as error:
        raise _unexpected(response) from error


def _answers(
    document: Any, image: PreparedImage, queries: Sequence[str], response: httpx.Response
) -> list[Segmentation]:
    """The answers of a response, in the order of `queries`."""
    several = isinstance(document, dict) and "results" in document
    documents = document["results"] if several else [document]
    if not isinstance(documents, list) or len(documents) != len(queries):
        raise _unexpected(response)
    frame = Frame(image.sent_size, image.original_size)
    try:
        return [
            Segmentation.from_dict(one, query=query, image=image.source, frame=frame)
            for one, query in zip(documents, queries, strict=True)
        ]
    except errors.UnexpectedAnswerError as error:
        error.status, error.request_id = response.status_code, _request_id(response)
        raise


def _request_id(response: httpx.Response) -> str:
    return response.headers.get("x-request-id") or response.request.headers["x-request-id"]


def _unexpected(response: httpx.Response) -> errors.UnexpectedAnswerError:
    return errors.UnexpectedAnswerError(
        f"{response.request.url} does not answer as wise-serve does; is the address right?",
        status=response.status_code,
        request_id=_request_id(response),
    )
