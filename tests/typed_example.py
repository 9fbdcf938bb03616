"""Uses everything of the public interface; `mypy --strict` checks its types, a test runs it."""

import asyncio
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from wise_client import (
    APIError,
    AsyncClient,
    BadRequestError,
    Client,
    Done,
    ImageInput,
    InputError,
    Instance,
    InstanceFound,
    InvalidFieldError,
    MaskFormat,
    MaskReady,
    Models,
    Outcome,
    Polygon,
    RetryableError,
    RetryPolicy,
    Segmentation,
    Strategy,
    StreamEvent,
    ThinkingDelta,
    TimedOutError,
    Timeouts,
    Timing,
    Usage,
    WiseClientError,
    coco,
    read_records,
)


def inputs(photo: Path) -> Sequence[ImageInput]:
    """Every form of an image."""
    content = photo.read_bytes()
    with Image.open(photo) as opened:
        picture = opened.convert("RGB")
    array: npt.NDArray[np.uint8] = np.asarray(picture)
    return [photo, str(photo), content, bytearray(content), io.BytesIO(content), picture, array]


def settings() -> dict[str, Any]:
    """Every setting of a client."""
    retry = RetryPolicy(
        max_retries=1, base_s=0.1, cap_s=1, longest_wait_s=5, statuses=frozenset({429})
    )
    limits = Timeouts(connect_s=1, write_s=2, read_s=3, pool_s=4)
    return {"timeouts": limits, "retry": retry, "max_connections": 4}


def read(result: Segmentation) -> None:
    """Every field of a result."""
    box: tuple[float, float, float, float] | None = result.box
    points: tuple[tuple[float, float], ...] = result.points
    score: float | None = result.score
    mask: npt.NDArray[np.bool_] = result.mask
    size: tuple[int, int] = result.size
    usage: Usage = result.usage
    timing: Timing = result.timing
    model: Models = result.model
    best: Instance | None = result.best
    texts: list[str] = [result.id, result.status, result.reasoning, result.query, model.reasoner]
    numbers: list[float] = [usage.thinking_tokens, timing.total_ms, mask.sum(), size[0]]
    assert best is not None
    assert box == best.box
    assert (points, score) == (best.points, best.score)
    assert best.area == best.mask.sum()
    parts: list[Polygon] = best.to_polygons()
    assert parts[0].exterior.shape[1] == 2
    assert all(text is not None for text in texts)
    assert len(numbers) == 4


def write(result: Segmentation, folder: Path) -> None:
    """Every way out of a result."""
    overlay: Image.Image = result.overlay(opacity=0.3)
    overlay.save(folder / "o.png")
    saved: list[Path] = [result.save(folder / "s.json"), result.save_mask(folder / "m.png")]
    documents: list[dict[str, Any]] = [
        result.to_coco(),
        result.to_labelme("photo.jpg"),
        result.to_geojson(),
        result.to_dict(),
        coco([("photo.jpg", result)]),
    ]
    polygons: list[list[Polygon]] = result.to_polygons()
    assert all(path.exists() for path in saved)
    assert all(documents)
    assert polygons
    Segmentation.from_dict(result.to_dict(), query=result.query, image=folder / "photo.jpg")


def follow(event: StreamEvent) -> str:
    """Every kind of event; mypy sees that none is left out."""
    if isinstance(event, ThinkingDelta):
        return event.text
    if isinstance(event, InstanceFound):
        return f"{event.index} {event.box} {event.points} {event.query_index}"
    if isinstance(event, MaskReady):
        return f"{event.mask.shape} {event.score} {event.area}"
    done: Done = event
    return f"{done.result} {len(done.results)}"


def explain(error: WiseClientError) -> str:
    """Every member of an error."""
    parts: list[object] = [error.code, error.status, error.request_id, error.detail]
    if isinstance(error, RetryableError):
        parts.append(error.retry_after_s)
    elif isinstance(error, InvalidFieldError):
        parts.append(error.field)
    elif isinstance(error, TimedOutError):
        parts.append(error.phase)
    elif isinstance(error, BadRequestError | APIError | InputError):
        parts.append(type(error).__name__)
    return str(parts)


def synchronous(url: str, photo: Path) -> list[str]:
    """Every method of Client."""
    strategy: Strategy = "wise-s"
    mask_format: MaskFormat = "png"
    folder = photo.parent
    with Client(url, "key", **settings()) as client:
        info: dict[str, Any] = client.info()
        result: Segmentation = client.segment(
            photo, "a", strategy=strategy, max_instances=2, mask_format=mask_format
        )
        read(result)
        write(result, folder)
        several: list[Segmentation] = client.segment_queries(photo, ["a", "b"], max_side_pixels=50)
        told = [follow(event) for event in client.stream(photo, ["a"])]
        pairs = [(image, "a") for image in inputs(photo)]
        outcomes: list[Outcome] = list(
            client.segment_many(pairs, concurrency=2, output=folder / "many.jsonl", progress=False)
        )
        try:
            client.segment("missing.jpg", "a")
        except WiseClientError as error:
            told.append(explain(error))
    for outcome in outcomes:
        assert outcome.ok, explain(outcome.error or WiseClientError("none"))
        assert outcome.unwrap() is outcome.result
    records: list[dict[str, Any]] = list(read_records(folder / "many.jsonl"))
    assert len(records) == len(outcomes)
    assert info
    assert len(several) == 2
    return told


async def asynchronous(url: str, photo: Path) -> list[str]:
    """Every method of AsyncClient."""
    async with AsyncClient(url, "key", **settings()) as client:
        info: dict[str, Any] = await client.info()
        result: Segmentation = await client.segment(photo, "a", max_side_pixels=50)
        several: list[Segmentation] = await client.segment_queries(photo, ["a", "b"])
        told = [follow(event) async for event in client.stream(photo, "a")]
        pairs = [(image, "a") for image in inputs(photo)]
        outcomes: list[Outcome] = [one async for one in client.segment_many(pairs)]
    read(result)
    assert info
    assert len(several) == 2
    assert all(outcome.ok for outcome in outcomes)
    return told


def everything(url: str, photo: Path) -> list[str]:
    """Run all of it; returns the events of the streams."""
    return synchronous(url, photo) + asyncio.run(asynchronous(url, photo))
