"""wise-client: ask a wise-serve server which pixels of an image a sentence describes.

    from wise_client import Client

    with Client("http://127.0.0.1:8000") as client:
        result = client.segment("photo.jpg", "the cup she could drink from")
        print(result, result.box, result.mask.sum())
        result.save("photo.overlay.png")

`wise_client.errors` shows the tree of errors; `wise_client.retry` has the table of what is sent
again.
"""

from wise_client.aclient import AsyncClient
from wise_client.answers import read_records
from wise_client.batch import Outcome
from wise_client.client import Client
from wise_client.config import Timeouts
from wise_client.errors import (
    APIError,
    BadRequestError,
    ConnectFailedError,
    ConnectionLostError,
    DeadlineExceededError,
    DrainingError,
    ImageUnknownError,
    InputError,
    InternalServerError,
    InvalidFieldError,
    MalformedRequestError,
    NotReadyError,
    OutputMismatchError,
    OverloadedError,
    ReasonerLostError,
    RequestTimeoutError,
    RetryableError,
    SegmenterLostError,
    TimedOutError,
    TooLargeError,
    TransportError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedAnswerError,
    UnsupportedImageError,
    UnsupportedMediaTypeError,
    WiseClientError,
)
from wise_client.events import Done, InstanceFound, MaskReady, StreamEvent, ThinkingDelta
from wise_client.export import coco
from wise_client.inputs import ImageInput
from wise_client.parts import Instance, Models, Timing, Usage
from wise_client.polygons import Polygon
from wise_client.prompts import Prompt
from wise_client.requests import MaskFormat, Strategy
from wise_client.results import Segmentation
from wise_client.retry import RetryPolicy
from wise_client.version import __version__

__all__ = [
    "APIError",
    "AsyncClient",
    "BadRequestError",
    "Client",
    "ConnectFailedError",
    "ConnectionLostError",
    "DeadlineExceededError",
    "Done",
    "DrainingError",
    "ImageInput",
    "ImageUnknownError",
    "InputError",
    "Instance",
    "InstanceFound",
    "InternalServerError",
    "InvalidFieldError",
    "MalformedRequestError",
    "MaskFormat",
    "MaskReady",
    "Models",
    "NotReadyError",
    "Outcome",
    "OutputMismatchError",
    "OverloadedError",
    "Polygon",
    "Prompt",
    "ReasonerLostError",
    "RequestTimeoutError",
    "RetryPolicy",
    "RetryableError",
    "Segmentation",
    "SegmenterLostError",
    "Strategy",
    "StreamEvent",
    "ThinkingDelta",
    "TimedOutError",
    "Timeouts",
    "Timing",
    "TooLargeError",
    "TransportError",
    "UnauthorizedError",
    "UnavailableError",
    "UnexpectedAnswerError",
    "UnsupportedImageError",
    "UnsupportedMediaTypeError",
    "Usage",
    "WiseClientError",
    "__version__",
    "coco",
    "read_records",
]
