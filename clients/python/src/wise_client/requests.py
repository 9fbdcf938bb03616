"""Queries and options -> requests of the contract."""

import base64
import json
import platform
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import httpx

from wise_client import errors
from wise_client.inputs import PreparedImage
from wise_client.version import __version__

Strategy = str
"""Name of one of the server's strategies, which `info()` lists."""

MaskFormat = Literal["rle", "png", "polygon"]


@dataclass(frozen=True)
class Request:
    """What httpx needs to build the request anew for each attempt; `id` is the same for all."""

    method: str
    path: str
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    id: str = field(default_factory=lambda: f"wc-{uuid.uuid4().hex}")

    def about(self, digest: str) -> "Request":
        """The same, with the image's digest for a balancer: it hashes on it, so that requests about
        one image meet at the server that has its embedding."""
        return replace(self, headers={**self.headers, "X-Image-Digest": digest})

    def build(self, http: httpx.Client | httpx.AsyncClient, trace: object) -> httpx.Request:
        """The request as httpx sends it; `trace` is httpx's trace extension."""
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

    def given(self) -> dict[str, Any]:
        """Those that the caller chose."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class RefineOptions:
    """The options of prompts; None leaves the choice to the server."""

    multimask: bool | None = None
    mask_format: MaskFormat | None = None
    max_side_pixels: int | None = None

    def fields(self) -> dict[str, Any]:
        """Those that are sent."""
        sent = {"multimask": self.multimask, "mask_format": self.mask_format}
        return {name: value for name, value in sent.items() if value is not None}

    def form(self) -> dict[str, str]:
        """Those that are sent, as a form has them."""
        return {name: str(value).lower() for name, value in self.fields().items()}


def user_agent() -> str:
    """The User-Agent header: the versions of this package and of Python."""
    return f"wise-client/{__version__} python/{platform.python_version()}"


def multipart(
    image: PreparedImage, query: str, options: Options, *, stream: bool = False
) -> Request:
    """One query: the image as a file, the rest as form fields."""
    data = {"query": query, **{name: str(value) for name, value in options.fields().items()}}
    if stream:
        data["stream"] = "true"
    files = {"image": (image.filename, image.content, image.content_type)}
    return Request("POST", "/segment", {"files": files, "data": data}, _accept(stream))


def as_json(
    image: PreparedImage, queries: Sequence[str], options: Options, *, stream: bool = False
) -> Request:
    """Several queries: JSON, the image in base64."""
    encoded = base64.b64encode(image.content).decode("ascii")
    document = {"image": encoded, "queries": list(queries), **options.fields(), "stream": stream}
    return _json("/segment", document, stream=stream)


def of_known(
    digest: str, queries: str | Sequence[str], options: Options, *, stream: bool = False
) -> Request:
    """One query or several about an image that the server has."""
    asked = {"query": queries} if isinstance(queries, str) else {"queries": list(queries)}
    document = {"image_digest": digest, **asked, **options.fields(), "stream": stream}
    return _json("/segment", document, stream=stream)


def refine(
    image: PreparedImage | str, prompts: Sequence[Mapping[str, Any]], options: RefineOptions
) -> Request:
    """Prompts about an image, or about one that the server has, by its digest."""
    if isinstance(image, str):
        document = {"image_digest": image, "prompts": list(prompts), **options.fields()}
        return _json("/refine", document)
    data = {"prompts": json.dumps(list(prompts)), **options.form()}
    files = {"image": (image.filename, image.content, image.content_type)}
    return Request("POST", "/refine", {"files": files, "data": data}, _accept(False))


def _json(path: str, document: Mapping[str, Any], *, stream: bool = False) -> Request:
    headers = {"Content-Type": "application/json", **_accept(stream)}
    return Request("POST", path, {"content": json.dumps(document).encode()}, headers)


def _accept(stream: bool) -> dict[str, str]:
    kind = "text/event-stream" if stream else "application/json"
    return {"Accept": f"{kind}, application/problem+json"}


def checked_queries(queries: Sequence[str]) -> list[str]:
    """Raises InputError if it is not a list of queries."""
    if isinstance(queries, str) or not queries:
        raise errors.InputError("queries is a list of at least one sentence")
    for query in queries:
        check_query(query)
    return list(queries)


def check_query(query: object) -> None:
    """Raises InputError if it is not a query; the server checks the limits."""
    if not isinstance(query, str):
        raise errors.InputError(f"A query is a str, not {type(query).__name__}")
    try:
        query.encode()
    except UnicodeEncodeError as error:
        raise errors.InputError("The query is not valid Unicode text") from error
