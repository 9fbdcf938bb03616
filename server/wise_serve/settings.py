"""Every setting of the server: one frozen class, from which flags, environment and docs are made.

A field `max_body_bytes` is the flag `--max-body-bytes` and the variable `WISE_MAX_BODY_BYTES`; its
description is its help text and its line in docs/operations.md.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from wise_serve.contract.names import Precision, StrategyName

MINIATURE = "miniature"

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]+)?|https?://\[[0-9a-f:.]+\](:[0-9]+)?")


def _origins(text: str) -> str:
    wrong = [one for one in split_origins(text) if not _ORIGIN.fullmatch(one)]
    if wrong:
        raise ValueError(
            f"'{wrong[0][:100]}' is no origin. Name each as a browser does, scheme, host and port "
            "alone: https://app.example:8443. '*' is not accepted."
        )
    return text


def split_origins(text: str) -> list[str]:
    """The origins of the setting `cors_origins`."""
    return [one.strip() for one in text.split(",") if one.strip()]


class Settings(BaseSettings):
    """Read once, by the command line; nothing else reads the environment."""

    model_config = SettingsConfigDict(env_prefix="WISE_", frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    api_key_file: str | None = Field(
        None,
        description="File of the API keys that are let in: a line each, SHA-256 digest and the "
        "caller's name, as `printf %s KEY | sha256sum` prints the first. Read again on SIGHUP. "
        "Without it no key is asked for.",
    )
    allow_anyone: bool = Field(
        False, description="Serve without API keys on an address that others can reach."
    )
    ops_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of their own for /metrics, /livez and /readyz, which the main one then "
        "does not serve; 0 picks a free one. Default: all on one port.",
    )
    ops_host: str | None = Field(
        None, description="Address of the port above. Default: that of the main one."
    )
    cors_origins: Annotated[str, AfterValidator(_origins)] = Field(
        "",
        description="Origins whose web pages may call this server, separated by commas, such as "
        "https://app.example. Default: none.",
    )

    reasoner: str = Field(
        MINIATURE,
        description="Reasoning checkpoint: 'miniature' (in the package), a folder, or a hub name.",
    )
    reasoner_image_size_pixels: int | None = Field(
        None,
        ge=28,
        description="Side of the square the reasoner sees. Coordinates are in that space, so it is "
        "part of the checkpoint. Default: 840, or the miniature's own.",
    )
    segmenter: str = Field(
        MINIATURE,
        description="SAM 2 checkpoint: 'miniature' (in the package), or a hub name such as "
        "facebook/sam2-hiera-large.",
    )
    strategy: StrategyName = Field("wise-s", description="Strategy of requests that name none.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the models run.")

    max_body_bytes: int = Field(20 * 2**20, ge=1024, description="Largest request body.")
    max_image_pixels: int = Field(32_000_000, ge=1, description="Largest image, width x height.")
    max_query_characters: int = Field(1000, ge=1, description="Longest query.")
    max_queries: int = Field(64, ge=1, le=64, description="Most queries about one image.")
    tcmalloc: bool = Field(
        True,
        description="Models on a CPU: run them on the memory allocator tcmalloc where it is "
        "installed (Debian: libtcmalloc-minimal4). About 1.15 times the throughput, and memory "
        "that stays level. An allocator that LD_PRELOAD names already is kept.",
    )
    max_inflight_requests: int = Field(64, ge=1, description="Requests being worked on at once.")
    max_queued_requests: int = Field(64, ge=0, description="Requests waiting for a slot.")
    image_threads: int = Field(2, ge=1, le=64, description="Threads that decode images.")
    max_thinking_tokens: int | None = Field(
        None, ge=16, description="Token limit of one generation. Default: the strategy's own."
    )
    request_deadline_s: float = Field(120.0, gt=0, description="A request's time, start to end.")
    header_deadline_s: float = Field(
        10.0, gt=0, description="Time for a request's line and headers to arrive."
    )
    body_deadline_s: float = Field(
        30.0, gt=0, description="Time for a request's body to arrive, once it has a slot."
    )
    drain_deadline_s: float = Field(30.0, gt=0, description="Longest wait of a shutdown.")
    startup_deadline_s: float = Field(600.0, gt=0, description="Time for both models to load.")

    encode_batch_size: int = Field(8, ge=1, description="Most images encoded in one batch.")
    decode_batch_size: int = Field(32, ge=1, description="Most prompts decoded in one batch.")
    batch_wait_ms: float = Field(
        2.0, ge=0, description="Longest wait of an item for batch-mates, device idle or not."
    )
    max_segmenter_queue: int = Field(256, ge=1, description="Items waiting at the segmenter.")
    embedding_cache_bytes: int = Field(256 * 2**20, ge=0, description="Embeddings kept (LRU).")
    segmenter_threads: int = Field(1, ge=1, description="CPU threads of the segmenter's torch.")
    segmenter_precision: Precision = Field(
        "float32",
        description="What SAM 2's image encoder computes in; the mask decoder stays in float32. A "
        "half type is meant for GPUs: its embeddings and weights take half the memory, but masks "
        "move a little. IoU with the public code, mean and least of 198 miniature masks: 0.9999 "
        "and 0.998 in float16, 0.999 and 0.98 in bfloat16; in float32 1.0.",
    )
    segmenter_compile: bool = Field(
        False,
        description="Compile SAM 2 for batches of 1, 2, 4, ... at start-up, on a GPU as captured "
        "graphs: minutes more to start, and a C++ compiler is needed. Meant for GPUs.",
    )
    heartbeat_s: float = Field(2.0, gt=0, description="A worker silent for this long is not ready.")

    kv_cache_bytes: int = Field(2**30, ge=2**20, description="KV cache of the engine (CPU only).")
    gpu_memory_utilization: float = Field(
        0.80, gt=0, lt=1, description="Share of GPU memory that vLLM takes; SAM 2 needs the rest."
    )
    max_batched_tokens: int = Field(4096, ge=256, description="Tokens of one engine step.")
    engine_threads: int | None = Field(
        None,
        ge=1,
        description="Threads of an engine on a CPU. Default: all cores but the segmenter's "
        "threads. OMP_NUM_THREADS, where set, wins.",
    )
    engine_compile: bool = Field(
        False,
        description="Compile the model at start-up on a CPU: faster at rest, slower to start, "
        "and needs a C++ compiler. On a GPU vLLM always compiles.",
    )

    cpu_kernels: bool = Field(
        True,
        description="An engine on a CPU: normalize and rotate by vLLM's C kernels, which its "
        "layers leave unused there. Latency at rest falls to about 0.85 of what it is without. In "
        "float32 alone, and not with --engine-compile.",
    )
    engine_image_cache_bytes: int = Field(
        2**30,
        ge=0,
        description="Preprocessed images that the engine keeps, for further queries about them.",
    )
    structured_answers: bool = Field(
        False,
        description="Hold the model to the form of its strategy's answer: it can write nothing "
        "else. Costs a little at every token; a trained checkpoint seldom needs it.",
    )
    ngram_tokens: int = Field(
        0,
        ge=0,
        le=16,
        description="Tokens guessed at each step from what the prompt holds already; 0: none. "
        "May pay on a GPU at few requests in flight, if answers copy the prompt; slower on a CPU.",
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is logged."
    )
    otlp_endpoint: str | None = Field(
        None,
        pattern=r"^https?://",
        description="OpenTelemetry collector that takes a span for each stage, OTLP over HTTP, "
        "such as http://localhost:4318/v1/traces. Default: no tracing.",
    )

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if self.ops_port is not None and 0 != self.ops_port == self.port:
            raise ValueError("--ops-port must differ from --port.")
        if self.ops_host is not None and self.ops_port is None:
            raise ValueError("--ops-host says where --ops-port listens: give that, too.")
        return self


# How --help and docs/operations.md group the settings; every field is in exactly one group.
GROUPS: dict[str, tuple[str, ...]] = {
    "Address": (
        "host",
        "port",
        "api_key_file",
        "allow_anyone",
        "ops_port",
        "ops_host",
        "cors_origins",
    ),
    "Models": (
        "reasoner",
        "reasoner_image_size_pixels",
        "segmenter",
        "strategy",
        "device",
        "tcmalloc",
    ),
    "Limits of a request": (
        "max_body_bytes",
        "max_image_pixels",
        "max_query_characters",
        "max_queries",
        "max_thinking_tokens",
        "request_deadline_s",
        "header_deadline_s",
        "body_deadline_s",
    ),
    "Load": (
        "max_inflight_requests",
        "max_queued_requests",
        "image_threads",
        "drain_deadline_s",
        "startup_deadline_s",
    ),
    "Segmenter": (
        "encode_batch_size",
        "decode_batch_size",
        "batch_wait_ms",
        "max_segmenter_queue",
        "embedding_cache_bytes",
        "segmenter_threads",
        "segmenter_precision",
        "segmenter_compile",
        "heartbeat_s",
    ),
    "Reasoning engine": (
        "kv_cache_bytes",
        "gpu_memory_utilization",
        "max_batched_tokens",
        "engine_threads",
        "engine_compile",
        "cpu_kernels",
        "engine_image_cache_bytes",
        "structured_answers",
        "ngram_tokens",
    ),
    "Logs and traces": ("log_level", "otlp_endpoint"),
}
