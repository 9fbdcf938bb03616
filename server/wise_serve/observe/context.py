"""What every stage of a request may need to know of it: its ids, its caller, its deadline, its
trace. A ContextVar holds it for the logs and for HTTP; the pipeline gets it as an argument."""

import math
import re
import uuid
from contextvars import ContextVar
from dataclasses import dataclass

from wise_serve.contract.names import RequestStage
from wise_serve.observe.traces import NO_TRACE, Trace

_TAKEN = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(slots=True)
class RequestContext:
    """request_id: the caller's X-Request-Id, or ours; in the logs and the response.
    id: ours, unique; the answer's `id`, and the base of the models' request names.
    stage: where the request is now, for the count of cancelled ones.
    caller: the name of its API key; empty where no key is asked for.
    deadline: event-loop time by which it must be answered.
    strategy: known once the fields are read; a metric label.
    trace: its spans; nothing is recorded unless tracing is on.
    """

    request_id: str
    id: str
    stage: RequestStage = "admission"
    caller: str = ""
    strategy: str = "none"
    deadline: float = math.inf
    trace: Trace = NO_TRACE

    @property
    def work_id(self) -> str:
        """Unique, and holds the caller's id: what the engine and the worker log."""
        return self.id if self.request_id == self.id else f"{self.request_id}:{self.id}"


def new_context(offered: str | None = None) -> RequestContext:
    """A context for a new request; `offered` is its X-Request-Id, ignored unless it is up
    to 64 letters, digits, '.', '_' and '-'."""
    own = f"seg-{uuid.uuid4().hex[:20]}"
    taken = offered is not None and _TAKEN.fullmatch(offered) is not None
    return RequestContext(request_id=offered if taken and offered else own, id=own)


current: ContextVar[RequestContext | None] = ContextVar("wise_request", default=None)


def current_request() -> RequestContext:
    """The running request's context; a fresh one outside any request (start-up, tests)."""
    return current.get() or new_context()
