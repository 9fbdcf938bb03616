"""The closed tree of errors. Every failure a caller can see is one of these.

    WiseError
    ├── BadInput              the caller's request is wrong
    │   ├── MalformedRequest      not JSON, not multipart, fields missing
    │   │   └── UnsupportedMediaType  a Content-Type or Content-Encoding that is not accepted
    │   ├── InvalidField          a field's value is not accepted
    │   ├── Unauthorized          no API key, or a wrong one
    │   ├── TooLarge              body, image or query over the limits
    │   ├── RequestTimeout        the request itself arrived too slowly
    │   ├── UnsupportedImage      not an accepted image format, or it does not decode
    │   └── ImageUnknown          the digest of an image that is not (or no longer) known
    ├── Retryable             the same request may succeed later
    │   ├── Overloaded            no slot is free now
    │   └── Unavailable           this server cannot answer now
    │       ├── NotReady              models are still loading, or were lost
    │       ├── Draining              the server is shutting down
    │       ├── ReasonerLost          the engine died while it processed the request
    │       └── SegmenterLost         the segmenter worker died while it processed the request
    ├── DeadlineExceeded      the request exceeded its deadline
    └── InternalError         a defect of the server

`code` is stable and part of the HTTP contract (RFC 9457 problem details, extension member `code`).
HTTP statuses are not known here: `problems.py` holds the one table from error to status.
"""

from typing import ClassVar


class WiseError(Exception):
    """Base of every error a caller can see. `str(error)` is safe to show: no paths, no secrets."""

    code: ClassVar[str]
    title: ClassVar[str]


class BadInput(WiseError):
    """The request itself is wrong; sending it again unchanged fails again."""


class MalformedRequest(BadInput):
    code = "malformed_request"
    title = "The request could not be read"


class UnsupportedMediaType(MalformedRequest):
    code = "unsupported_media_type"
    title = "The request's media type is not accepted"


class InvalidField(BadInput):
    """A field has a value that is not accepted. `field`: its name in the API (`query`, ...)."""

    code = "invalid_field"
    title = "A field has a value that is not accepted"

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class Unauthorized(BadInput):
    code = "unauthorized"
    title = "A valid API key is needed"


class TooLarge(BadInput):
    code = "too_large"
    title = "The request exceeds this server's limits"


class RequestTimeout(BadInput):
    code = "request_timeout"
    title = "The request arrived too slowly"


class UnsupportedImage(BadInput):
    code = "unsupported_image"
    title = "The image cannot be read"


class ImageUnknown(BadInput):
    code = "image_unknown"
    title = "The image must be sent again"


class Retryable(WiseError):
    """The same request may succeed later. `retry_after_s` is the server's estimate, in seconds."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Overloaded(Retryable):
    code = "overloaded"
    title = "The server is full"


class Unavailable(Retryable):
    """This server cannot answer now."""


class NotReady(Unavailable):
    code = "not_ready"
    title = "The server is not ready"


class Draining(Unavailable):
    code = "draining"
    title = "The server is shutting down"


class ReasonerLost(Unavailable):
    code = "reasoner_lost"
    title = "The reasoning engine was lost"


class SegmenterLost(Unavailable):
    code = "segmenter_lost"
    title = "The segmenter was lost"


class DeadlineExceeded(WiseError):
    code = "deadline_exceeded"
    title = "The request exceeded its deadline"


class InternalError(WiseError):
    code = "internal_error"
    title = "The server has a defect"
