"""Everything that the synchronous and the asynchronous client share: all but the waiting.

An operation is a generator of steps (`Work`, `Pause`, `Send`). A client performs each step, sends
its result back in or throws its exception in, and gives what the generator returns.
"""

import base64
import itertools
import json
import platform
import time
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

import httpx

from wise_client import errors
from wise_client.events import EventDecoder
from wise_client.inputs import ImageInput, PreparedImage, prepare
from wise_client.parts import Frame
from wise_client.results import Segmentation
from wise_client.retry import RetryPolicy, SendTrace, may_resend
from wise_client.version import __version__

Strategy = Literal["wise-s", "wise", "seg-zero", "vision-reasoner"]
MaskFormat = Literal["rle", "png", "polygon"]
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
    """One attempt of a request. With `stream`, an answer of status 200 is left unread."""

    request: "Request"
    trace: SendTrace
    stream: bool


Step: TypeAlias = "Work | Pause | Send"
Steps: TypeAlias = Generator[Step, Any, T]


@dataclass(frozen=True)
class Request:
    """What httpx needs to build the request anew for each attempt; `id` is the same for all."""

    method: str
    path: str
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    id: str = field(default_factory=lambda: f"wc-{uuid.uuid4().hex}")

    def build(self, http: "httpx.Client | httpx.AsyncClient", trace: object) -> httpx.Request:
        headers = {"X-Request-Id": self.id, **self.headers}
        return http.build_request(
            self.method, self.path, headers=headers, extensions={"trace": trace}, **self.body
        )


@dataclass(frozen=True)
class Options:
    """The options of a query; None leaves the choice to the server."""

    strategy: Strategy | None = None
    max_instances: int | None = None
    mask_format: MaskFormat | None = None
    max_side_pixels: int | None = None

    def fields(self) -> dict[str, Any]:
        """Those that are sent."""
        sent = {
            "strategy": self.strategy,
            "max_instances": self.max_instances,
            "mask_format": self.mask_format,
        }
        return {name: value for name, value in sent.items() if value is not None}


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
        _check_query(query)
        prepared: PreparedImage = yield Work(lambda: prepare(image, options.max_side_pixels))
        response = yield from self._send(_multipart(prepared, query, options))
        return _answers(_document(response), prepared, [query], response)[0]

    def segment_queries(
        self, image: ImageInput, queries: Sequence[str], options: Options
    ) -> Steps[list[Segmentation]]:
        queries = _checked_queries(queries)
        prepared: PreparedImage = yield Work(lambda: prepare(image, options.max_side_pixels))
        request: Request = yield Work(lambda: _as_json(prepared, queries, options))
        response = yield from self._send(request)
        return _answers(_document(response), prepared, queries, response)

    def open_stream(
        self, image: ImageInput, query: "str | Sequence[str]", options: Options
    ) -> Steps[OpenStream]:
        queries = _checked_queries([query] if isinstance(query, str) else query)
        prepared: PreparedImage = yield Work(lambda: prepare(image, options.max_side_pixels))
        if isinstance(query, str):
            request = _multipart(prepared, query, options, stream=True)
        else:
            request = yield Work(lambda: _as_json(prepared, queries, options, stream=True))
        response = yield from self._send(request, stream=True)
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            yield Work(response.close)
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
                failure: errors.WiseClientError = errors.from_answer(
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


def user_agent() -> str:
    return f"wise-client/{__version__} python/{platform.python_version()}"


def _multipart(
    image: PreparedImage, query: str, options: Options, *, stream: bool = False
) -> Request:
    data = {"query": query, **{name: str(value) for name, value in options.fields().items()}}
    if stream:
        data["stream"] = "true"
    files = {"image": (image.filename, image.content, image.content_type)}
    return Request("POST", "/segment", {"files": files, "data": data}, _accept(stream))


def _as_json(
    image: PreparedImage, queries: Sequence[str], options: Options, *, stream: bool = False
) -> Request:
    encoded = base64.b64encode(image.content).decode("ascii")
    document = {"image": encoded, "queries": list(queries), **options.fields(), "stream": stream}
    headers = {"Content-Type": "application/json", **_accept(stream)}
    return Request("POST", "/segment", {"content": json.dumps(document).encode()}, headers)


def _accept(stream: bool) -> dict[str, str]:
    kind = "text/event-stream" if stream else "application/json"
    return {"Accept": f"{kind}, application/problem+json"}


def _checked_queries(queries: Sequence[str]) -> list[str]:
    if isinstance(queries, str) or not queries:
        raise errors.InputError("queries is a list of at least one sentence")
    for query in queries:
        _check_query(query)
    return list(queries)


def _check_query(query: object) -> None:
    if not isinstance(query, str):
        raise errors.InputError(f"A query is a str, not {type(query).__name__}")
    try:
        query.encode()
    except UnicodeEncodeError as error:
        raise errors.InputError("The query is not valid Unicode text") from error


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
