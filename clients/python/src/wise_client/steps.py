"""The steps of a client's operation; the client that runs it performs each step.

An operation is a generator of steps (`Work`, `Pause`, `Send`). A client performs each step, sends
its result back in or throws its exception in, and returns the generator's result. So the
synchronous and the asynchronous client differ only in how they wait.
"""

import itertools
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import httpx

from wise_client import errors
from wise_client.problems import from_answer
from wise_client.requests import Request
from wise_client.retry import RetryPolicy, SendTrace, may_resend

T = TypeVar("T")


@dataclass(frozen=True)
class Work:
    """Slow work that needs no network: reading files, encoding images."""

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


def send(
    request: Request, policy: RetryPolicy, clock: Callable[[], float], *, stream: bool = False
) -> Steps[httpx.Response]:
    """Send until it is answered or must not be sent again; see `wise_client.retry`.

    Raises TransportError or APIError, those of the last attempt.
    """
    for retry in itertools.count():
        trace = SendTrace(clock)
        try:
            response: httpx.Response = yield Send(request, trace, stream)
            if response.status_code == 200:
                return response
            failure: errors.WiseClientError = from_answer(
                response.status_code, response.headers, response.content, request.id
            )
        except httpx.RequestError as error:
            failure = transport_failure(error, request.id)
        if not may_resend(failure, trace, policy):
            raise failure
        wait_s = policy.wait_s(retry, getattr(failure, "retry_after_s", None))
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
    "write": "The server did not accept the request in time",
    "read": "The server did not answer in time",
    "pool": "No connection came free in time; raise max_connections",
}
