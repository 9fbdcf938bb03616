"""RFC 9457 problem documents, and what proxies send in their place -> errors."""

import email.utils
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from wise_client.errors import (
    APIError,
    DeadlineExceededError,
    DrainingError,
    ImageUnknownError,
    InternalServerError,
    InvalidFieldError,
    MalformedRequestError,
    NotReadyError,
    OverloadedError,
    ReasonerLostError,
    RequestTimeoutError,
    RetryableError,
    SegmenterLostError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedAnswerError,
    UnsupportedImageError,
    UnsupportedMediaTypeError,
)

_OF_STATUS: dict[int, type[APIError]] = {
    400: MalformedRequestError,
    401: UnauthorizedError,
    408: RequestTimeoutError,
    413: TooLargeError,
    415: UnsupportedImageError,
    422: InvalidFieldError,
    429: OverloadedError,
    500: InternalServerError,
    502: UnavailableError,
    503: UnavailableError,
    504: DeadlineExceededError,
}
_OF_CODE: dict[str, type[APIError]] = {
    kind.default_code: kind
    for kind in (
        MalformedRequestError,
        UnsupportedMediaTypeError,
        UnauthorizedError,
        TooLargeError,
        RequestTimeoutError,
        UnsupportedImageError,
        ImageUnknownError,
        InvalidFieldError,
        OverloadedError,
        NotReadyError,
        DrainingError,
        ReasonerLostError,
        SegmenterLostError,
        DeadlineExceededError,
        InternalServerError,
    )
}


def from_problem(
    problem: Mapping[str, Any],
    *,
    status: int | None = None,
    request_id: str | None = None,
    retry_after_s: float | None = None,
) -> APIError:
    """The error of one RFC 9457 problem document (https://www.rfc-editor.org/rfc/rfc9457)."""
    told = problem.get("status")
    status = told if isinstance(told, int) else status
    code = problem.get("code")
    kind = _OF_CODE.get(str(code)) or _OF_STATUS.get(status or 0, UnexpectedAnswerError)
    detail = problem.get("detail") or problem.get("title") or f"HTTP {status} without a reason"
    error = kind(
        str(detail),
        code=code if isinstance(code, str) else None,
        status=status,
        request_id=problem.get("request_id") or request_id,
    )
    if isinstance(error, InvalidFieldError):
        error.field = problem.get("field")
    if isinstance(error, RetryableError):
        error.retry_after_s = retry_after_s
    return error


def from_answer(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    request_id: str | None,
    now: Callable[[], float] = time.time,
) -> APIError:
    """The error of an HTTP answer whose status is not 200, problem document or not."""
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        document = {"detail": f"The answer is HTTP {status} without a problem document"}
    return from_problem(
        document,
        status=status,
        request_id=headers.get("x-request-id") or request_id,
        retry_after_s=retry_after_s(headers.get("retry-after"), now),
    )


def retry_after_s(value: str | None, now: Callable[[], float] = time.time) -> float | None:
    """Seconds of a `Retry-After` header, as a number or as a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - now()
        except ValueError:
            return None
    return max(0.0, seconds) if seconds < float("inf") else None
