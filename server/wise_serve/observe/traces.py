"""Traces: one span a request, one below it for each stage. This module knows no library.

`otel.py` is the real tracer; without an endpoint the two classes here stand in, which do nothing.
"""

from collections.abc import Mapping
from typing import Final, Protocol


class Trace(Protocol):
    """One request."""

    def stage(self, name: str, took_s: float, ended_ago_s: float = 0.0) -> None:
        """A stage is over; it took so long and ended that long before this call."""

    def end(self, strategy: str, status: int) -> None:
        """The request is over. `status`: of the HTTP answer; 0 if the caller left first."""


class Tracer(Protocol):
    """Makes the traces."""

    def begin(self, request_id: str, headers: Mapping[str, str]) -> Trace:
        """A request came in; a `traceparent` among its headers (W3C) is continued."""

    def close(self) -> None:
        """Send what is left. May block for seconds."""


class NoTrace:
    """Nothing is recorded."""

    def stage(self, name: str, took_s: float, ended_ago_s: float = 0.0) -> None: ...
    def end(self, strategy: str, status: int) -> None: ...


NO_TRACE: Final = NoTrace()


class NoTracer:
    """Tracing is off."""

    def begin(self, request_id: str, headers: Mapping[str, str]) -> Trace:
        return NO_TRACE

    def close(self) -> None: ...


NO_TRACER: Final = NoTracer()
