"""Settings of the gateway: address, limits, load, logs."""

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, model_validator

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]+)?|https?://\[[0-9a-f:.]+\](:[0-9]+)?")


def _origins(text: str) -> str:
    wrong = [one for one in split_origins(text) if not _ORIGIN.fullmatch(one)]
    if wrong:
        raise ValueError(
            f"'{wrong[0][:100]}' is not an origin. Give scheme, host and port only, as browsers "
            "send it: https://app.example:8443. '*' is not accepted."
        )
    return text


def split_origins(text: str) -> list[str]:
    """The origins of the setting `cors_origins`."""
    return [one.strip() for one in text.split(",") if one.strip()]


class AddressSettings(BaseModel):
    """Where the server listens, and who may call it."""

    title: ClassVar = "Address"

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    api_key_file: str | None = Field(
        None,
        description="File of the accepted API keys. Each line has a key's SHA-256 digest, as "
        "`printf %s KEY | sha256sum` prints it, and the caller's name. Read again on SIGHUP. "
        "Without this file no key is needed.",
    )
    allow_anyone: bool = Field(
        False, description="Serve without API keys on an address that others can reach."
    )
    ops_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Separate port for /metrics, /livez and /readyz, which the main port then does "
        "not serve; 0 picks a free one. Default: all on one port.",
    )
    ops_host: str | None = Field(None, description="Address of --ops-port. Default: --host.")
    cors_origins: Annotated[str, AfterValidator(_origins)] = Field(
        "",
        description="Origins whose web pages may call this server, separated by commas, such as "
        "https://app.example. Default: none.",
    )

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if self.ops_port is not None and 0 != self.ops_port == self.port:
            raise ValueError("--ops-port must differ from --port.")
        if self.ops_host is not None and self.ops_port is None:
            raise ValueError("--ops-host is the address of --ops-port: give --ops-port as well.")
        return self


class LimitSettings(BaseModel):
    """Limits on the size and the duration of one request."""

    title: ClassVar = "Limits of a request"

    max_body_bytes: int = Field(20 * 2**20, ge=1024, description="Largest request body.")
    max_image_pixels: int = Field(32_000_000, ge=1, description="Largest image, width x height.")
    max_query_characters: int = Field(1000, ge=1, description="Longest query.")
    max_queries: int = Field(
        64, ge=1, le=64, description="Maximum number of queries about one image."
    )
    max_prompts: int = Field(64, ge=1, le=256, description="Maximum prompts of a /refine request.")
    max_points: int = Field(64, ge=1, description="Maximum points of one prompt of /refine.")
    max_thinking_tokens: int | None = Field(
        None, ge=16, description="Token limit of one generation. Default: the strategy's own."
    )
    request_deadline_s: float = Field(
        120.0, gt=0, description="Longest time of a request, from start to end."
    )
    header_deadline_s: float = Field(
        10.0, gt=0, description="Time for a request's line and headers to arrive."
    )
    body_deadline_s: float = Field(
        30.0, gt=0, description="Time for a request's body to arrive, from when it has a slot."
    )


class LoadSettings(BaseModel):
    """How many requests run at once, and how long starting and stopping may take."""

    title: ClassVar = "Load"

    max_inflight_requests: int = Field(
        64, ge=1, description="Maximum number of requests processed at the same time."
    )
    max_queued_requests: int = Field(
        64, ge=0, description="Maximum number of requests that wait for a slot."
    )
    image_threads: int = Field(2, ge=1, le=64, description="Threads that decode images.")
    known_images_bytes: int = Field(
        256 * 2**20,
        ge=0,
        description="Memory for images that callers may name by their digest instead of sending "
        "them again; about 2 MB each with a square of 840 pixels. When it is full, the least "
        "recently used ones are evicted.",
    )
    drain_deadline_s: float = Field(
        30.0, gt=0, description="Longest time that a shutdown waits for requests."
    )
    startup_deadline_s: float = Field(
        600.0, gt=0, description="Time for both models to load, without downloads."
    )


class LogSettings(BaseModel):
    """What the server reports about itself."""

    title: ClassVar = "Logs and traces"

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is logged."
    )
    otlp_endpoint: str | None = Field(
        None,
        pattern=r"^https?://",
        description="OpenTelemetry collector to which a span for each stage is sent (OTLP over "
        "HTTP), such as http://localhost:4318/v1/traces. Default: no tracing.",
    )
