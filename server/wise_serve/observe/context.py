"""What every stage may need to know about a request: its ids, caller, deadline and trace.

A ContextVar holds it for the logs and for HTTP; the pipeline gets it as an argument.
"""

import math
import re
import uuid
from contextvars import ContextVar
from dataclasses import dataclass

from wise_serve.contract.errors import InternalError
from wise_serve.contract.names import RequestStage
from wise_serve.observe.traces import NO_TRACE, Trace

_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(slots=True)
class RequestContext:
    """One request.

    request_id: the caller's X-Request-Id, or the server's own id; in the logs and the response.
    id: the server's own id, unique; the answer's `id`, and part of the models' request ids.
    stage: where the request is now; the metric of cancelled requests counts by it.
    admitted: whether the gate has let it through: no model works for a request before that.
    counted: whether its failure has been counted, which happens once.
    caller: the name of the caller's API key; empty if the server needs no key.
    deadline: event-loop time, seconds, by which it must be answered.
    strategy: a metric label; known when the request's fields have been read.
    trace: its spans; records nothing unless tracing is on.
    """

    request_id: str
    id: str
    stage: RequestStage = "admission"
    admitted: bool = False
    counted: bool = False
    caller: str = ""
    strategy: str = "none"
    deadline: float = math.inf
    trace: Trace = NO_TRACE

    @property
    def work_id(self) -> str:
        """The id that the engine and the workers log: unique, and contains the caller's id."""
        return self.id if self.request_id == self.id else f"{self.request_id}:{self.id}"


def new_context(offered: str | None = None) -> RequestContext:
    """A context for a new request.

    `offered` is its X-Request-Id. It is ignored unless it consists of 1 to 64 letters, digits,
    '.', '_' and '-'.
    """
    own = f"seg-{uuid.uuid4().hex[:20]}"
    accepted = offered is not None and _ACCEPTED.fullmatch(offered) is not None
    return RequestContext(request_id=offered if accepted and offered else own, id=own)


current: ContextVar[RequestContext | None] = ContextVar("wise_request", default=None)


def current_request() -> RequestContext:
    """The context of the request that runs here; a new one outside any request (start, tests)."""
    return current.get() or new_context()


def admitted_request() -> RequestContext:
    """The context of the request that runs here. Raises InternalError unless the gate has admitted
    it, so that a path that reaches a route but not the gate is refused."""
    request = current_request()
    if not request.admitted:
        raise InternalError("The request has not been admitted.")
    return request
