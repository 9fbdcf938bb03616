"""Every failure of this client is one of these.

    WiseClientError
    ├── InputError                    wrong before anything was sent       invalid_input
    │   └── OutputMismatchError           the file is of other pairs       output_mismatch
    ├── TransportError                no answer came
    │   ├── ConnectFailedError            the server was not reached       connect_failed
    │   ├── ConnectionLostError           it broke before the answer       connection_lost
    │   └── TimedOutError                 a phase took too long            timed_out
    └── APIError                      the answer is an error
        ├── BadRequestError               sent again unchanged, it fails again
        │   ├── MalformedRequestError         400                          malformed_request
        │   │   └── UnsupportedMediaTypeError     415, of the body         unsupported_media_type
        │   ├── InvalidFieldError             422                          invalid_field
        │   ├── UnauthorizedError             401                          unauthorized
        │   ├── TooLargeError                 413                          too_large
        │   ├── RequestTimeoutError           408                          request_timeout
        │   ├── UnsupportedImageError         415, of the image            unsupported_image
        │   └── ImageUnknownError             404                          image_unknown
        ├── RetryableError                the same request may succeed later
        │   ├── OverloadedError               429                          overloaded
        │   └── UnavailableError              502, 503                     unavailable
        │       ├── NotReadyError                 models are loading       not_ready
        │       ├── DrainingError                 it is shutting down      draining
        │       ├── ReasonerLostError             the engine died          reasoner_lost
        │       └── SegmenterLostError            the worker died          segmenter_lost
        ├── DeadlineExceededError         504                              deadline_exceeded
        ├── InternalServerError           500                              internal_error
        └── UnexpectedAnswerError         not an answer of wise-serve      unexpected_answer

Each has `detail` (one sentence), `code` (the last column, or the server's own), `status` (HTTP
status, None where no answer came) and `request_id` (find it in the server's log; None where
nothing was sent). Errors over HTTP are RFC 9457 problem documents.
"""

import re
from typing import ClassVar

_SURROGATE = re.compile("[\ud800-\udfff]")


def writable(text: str) -> str:
    """`text` for output: surrogates, which UTF-8 cannot hold, as `%` and their number.

    Python reads the byte E9 of a file name that is not UTF-8 as U+DCE9; here it becomes `%DCE9`.
    """
    return _SURROGATE.sub(lambda found: f"%{ord(found[0]):X}", text)


class WiseClientError(Exception):
    """Base of every error of this package."""

    default_code: ClassVar[str] = "error"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        self.detail = writable(detail)
        super().__init__(self.detail)
        self.code = code or self.default_code
        self.status = status
        self.request_id = request_id

    def to_dict(self) -> dict[str, str | int | None]:
        """The error as in the output of a batch."""
        names = ("code", "detail", "status", "request_id")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        marks = [self.code]
        if self.status is not None:
            marks.append(f"HTTP {self.status}")
        if self.request_id is not None:
            marks.append(f"request {self.request_id}")
        return f"{self.detail} ({', '.join(marks)})"


class InputError(WiseClientError):
    """The arguments are wrong: no such file, not an image, a wrong dtype. Nothing was sent."""

    default_code = "invalid_input"


class OutputMismatchError(InputError):
    """A batch's output file belongs to another list of pairs, or to other options."""

    default_code = "output_mismatch"


class TransportError(WiseClientError):
    """No answer came."""

    default_code = "transport"


class ConnectFailedError(TransportError):
    """The server could not be reached; it received nothing of the request."""

    default_code = "connect_failed"


class ConnectionLostError(TransportError):
    """The connection broke before the whole answer had come."""

    default_code = "connection_lost"


class TimedOutError(TransportError):
    """`phase` took longer than its limit: "connect", "write", "read" or "pool"."""

    default_code = "timed_out"
    phase: str = "read"


class APIError(WiseClientError):
    """The server, or a proxy in front of it, answered with an error."""

    default_code = "api_error"


class BadRequestError(APIError):
    """The request is wrong; sent again unchanged it fails again."""

    default_code = "bad_request"


class MalformedRequestError(BadRequestError):
    """The body is not JSON or multipart as its type says, or a field is missing."""

    default_code = "malformed_request"


class UnsupportedMediaTypeError(MalformedRequestError):
    """The server does not read bodies of this Content-Type or Content-Encoding."""

    default_code = "unsupported_media_type"


class InvalidFieldError(BadRequestError):
    """A field's value is not accepted. `field` names the field, if the server does."""

    default_code = "invalid_field"
    field: str | None = None


class UnauthorizedError(BadRequestError):
    """The server needs an API key, and there was none, or a wrong one."""

    default_code = "unauthorized"


class TooLargeError(BadRequestError):
    """Body, image or query over the server's limits; see `max_side_pixels`."""

    default_code = "too_large"


class RequestTimeoutError(BadRequestError):
    """The request reached the server too slowly; the connection may be too slow for the image."""

    default_code = "request_timeout"


class UnsupportedImageError(BadRequestError):
    """The server cannot read the image: another format, damaged or incomplete."""

    default_code = "unsupported_image"


class ImageUnknownError(BadRequestError):
    """The server no longer has the image of this digest; the clients send it again."""

    default_code = "image_unknown"


class RetryableError(APIError):
    """May succeed later. `retry_after_s` is the server's estimate in seconds, if it gave one."""

    default_code = "retryable"
    retry_after_s: float | None = None


class OverloadedError(RetryableError):
    """All slots of the server are in use; `retry_after_s` says when to ask again."""

    default_code = "overloaded"


class UnavailableError(RetryableError):
    """The server, or a proxy in front of it, cannot answer now."""

    default_code = "unavailable"


class NotReadyError(UnavailableError):
    """The server is still loading its models."""

    default_code = "not_ready"


class DrainingError(UnavailableError):
    """The server is shutting down; another one may answer."""

    default_code = "draining"


class ReasonerLostError(UnavailableError):
    """The process of the reasoning model ended during the request."""

    default_code = "reasoner_lost"


class SegmenterLostError(UnavailableError):
    """The process of the segmenter ended during the request."""

    default_code = "segmenter_lost"


class DeadlineExceededError(APIError):
    """The answer was not complete at the server's deadline."""

    default_code = "deadline_exceeded"


class InternalServerError(APIError):
    """The server has a defect; its log names the `request_id`."""

    default_code = "internal_error"


class UnexpectedAnswerError(APIError):
    """The answer is not one of wise-serve: another server, a proxy, or another version."""

    default_code = "unexpected_answer"
