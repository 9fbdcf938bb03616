"""Errors as RFC 9457 problem documents.

Only this module has the table from error to HTTP status, and turns an exception into an answer, a
log line and a count.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from wise_serve.contract import errors
from wise_serve.contract.schemas import Problem
from wise_serve.observe import logs
from wise_serve.observe.context import current_request
from wise_serve.observe.metrics import Metrics

MEDIA_TYPE: Final = "application/problem+json"

# An error has the status of its nearest ancestor in this table.
STATUS: Final[Mapping[type[errors.WiseError], int]] = {
    errors.MalformedRequest: 400,
    errors.UnsupportedMediaType: 415,
    errors.InvalidField: 422,
    errors.Unauthorized: 401,
    errors.TooLarge: 413,
    errors.RequestTimeout: 408,
    errors.UnsupportedImage: 415,
    errors.ImageUnknown: 404,
    errors.Overloaded: 429,
    errors.Unavailable: 503,
    errors.DeadlineExceeded: 504,
    errors.InternalError: 500,
}

# Answers of the router itself, to paths and methods outside of the contract.
_ROUTER: Final = {
    404: ("not_found", "There is nothing here", "This path is not served; see /docs."),
    405: ("method_not_allowed", "The method is not allowed here", "This path accepts {allow}."),
}


def status_of(kind: type[errors.WiseError]) -> int:
    """HTTP status of an error class."""
    return next(STATUS[base] for base in kind.__mro__ if base in STATUS)


def as_wise_error(error: BaseException) -> errors.WiseError:
    """The error a caller may see: itself, the first one inside a group, or InternalError."""
    if isinstance(error, errors.WiseError):
        return error
    if isinstance(error, BaseExceptionGroup):
        inner = [as_wise_error(item) for item in error.exceptions]
        known = [item for item in inner if not isinstance(item, errors.InternalError)]
        return (known or inner)[0]
    if isinstance(error, RequestValidationError):
        return errors.InvalidField("A parameter has a value that is not accepted.")
    return errors.InternalError("The server failed on this request; its log names the request id.")


def problem_of(error: errors.WiseError) -> Problem:
    """The document of an error. Its text is safe to show."""
    return Problem(
        type=f"urn:wise-serve:problem:{error.code}",
        title=error.title,
        status=status_of(type(error)),
        detail=str(error),
        code=error.code,
        request_id=current_request().request_id,
        field=getattr(error, "field", None),
    )


def response_of(error: errors.WiseError) -> Response:
    """The answer to a request that failed with `error`."""
    headers = {}
    if isinstance(error, errors.Retryable):
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if isinstance(error, errors.Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    return _render(problem_of(error), headers)


def router_response(error: HTTPException, reason: str | None = None) -> Response:
    """The answer to a path or a method that is not served. `reason`: why, if there is a special
    one."""
    code, title, detail = _ROUTER.get(
        error.status_code, ("http_error", "The request failed", "The request failed.")
    )
    headers = dict(error.headers or {})
    if headers.get("Allow") == "GET":
        headers["Allow"] = "GET, HEAD"  # see middleware.Head
    problem = Problem(
        type=f"urn:wise-serve:problem:{code}",
        title=title,
        status=error.status_code,
        detail=reason or detail.format(allow=headers.get("Allow", "other methods")),
        code=code,
        request_id=current_request().request_id,
        field=None,
    )
    return _render(problem, headers)


def _render(problem: Problem, headers: dict[str, str]) -> Response:
    content = problem.model_dump_json(exclude_none=True)
    return Response(content, problem.status, headers, MEDIA_TYPE)


class Reporter:
    """Turns whatever went wrong into the error to show, logs a defect, counts a failed request."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def report(self, error: BaseException, *, segmenting: bool) -> errors.WiseError:
        """`segmenting`: whether the request was for the models; those alone are counted, once."""
        shown = as_wise_error(error)
        status = status_of(type(shown))
        if isinstance(shown, errors.InternalError):
            logs.event(logging.ERROR, "request failed", {"code": shown.code}, exc_info=error)
        request = current_request()
        if segmenting and not request.counted:
            request.counted = True
            self._metrics.requests.labels(request.strategy, "error", str(status)).inc()
        return shown


def documented(*kinds: type[errors.WiseError]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses` for these errors, their headers included."""
    by_status: dict[int | str, list[type[errors.WiseError]]] = {}
    for kind in kinds:
        by_status.setdefault(status_of(kind), []).append(kind)
    documents: dict[int | str, dict[str, Any]] = {}
    for status, group in by_status.items():
        schema = {"$ref": "#/components/schemas/Problem"}
        documents[status] = {
            "description": "; ".join(f"`{kind.code}`: {kind.title}" for kind in group),
            "content": {MEDIA_TYPE: {"schema": schema}},
            "headers": _documented_headers(group),
        }
    return documents


def _documented_headers(kinds: list[type[errors.WiseError]]) -> dict[str, Any]:
    """Those that `response_of` sets for every one of `kinds`."""
    headers: dict[str, Any] = {}
    if all(issubclass(kind, errors.Retryable) for kind in kinds):
        seconds = {"type": "integer", "minimum": 1}
        text = "Seconds to wait."
        headers["Retry-After"] = {"description": text, "required": True, "schema": seconds}
    if all(issubclass(kind, errors.Unauthorized) for kind in kinds):
        headers["WWW-Authenticate"] = {"required": True, "schema": {"const": "Bearer"}}
    return headers


def leaves(kind: type[errors.WiseError] = errors.WiseError) -> list[type[errors.WiseError]]:
    """Every error that can be raised: the classes of the tree that have a code."""
    own = [kind] if "code" in vars(kind) else []
    return own + [leaf for child in kind.__subclasses__() for leaf in leaves(child)]
