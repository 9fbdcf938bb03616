"""Whether a checkpoint's own preprocessor leaves the images of a strategy unchanged.

A strategy defines the size of the image. The checkpoint's preprocessor has its own limits, and
resizes an image outside of them once more. Then the model sees an image of another size than the
one in whose pixels its answer is read.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from wise_serve.reasoner.engine_args import read_engine_args
from wise_serve.reasoner.strategies.files import STRATEGIES
from wise_serve.reasoner.strategies.strategy import AspectImage, Strategy
from wise_serve.settings import Settings

_FILES: Final = ("preprocessor_config.json", "processor_config.json")


@dataclass(frozen=True, slots=True)
class PixelLimits:
    """The limits of a preprocessor. least_pixels, most_pixels: of width x height. multiple_pixels:
    width and height are multiples of it."""

    least_pixels: int
    most_pixels: int
    multiple_pixels: int


@dataclass(frozen=True, slots=True)
class Misfit:
    """A strategy whose image would be resized once more. asked_for: it is the server's default or
    from a file; otherwise it is a built-in one, which every server offers."""

    message: str
    asked_for: bool


def misfits_of(settings: Settings, strategies: Mapping[str, Strategy]) -> list[Misfit] | None:
    """Which of a server's strategies do not fit its reasoner's preprocessor, and why.

    None if the preprocessor's limits are unknown. Raises EngineArgsError.
    """
    limits = limits_of(settings.reasoner_checkpoint, read_engine_args(settings.engine_args))
    if limits is None:
        return None
    return [
        Misfit(
            f"The strategy '{name}' does not fit '{settings.reasoner}': {mistake}.",
            name == settings.strategy or name not in STRATEGIES,
        )
        for name, strategy in strategies.items()
        for mistake in misfits(strategy, limits, settings.reasoner_square_pixels)
    ]


def limits_of(checkpoint: str, engine_args: Mapping[str, Any] | None = None) -> PixelLimits | None:
    """The limits of a checkpoint, a folder or a hub name whose files are on this machine.

    engine_args: vLLM's, which may change them. None if there is no such file, or one of another
    form than Qwen2.5-VL's and Qwen3-VL's.
    """
    given = engine_args or {}
    for name in _FILES:
        path = _local(checkpoint, name, given)
        if path is None:
            continue
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        config = config.get("image_processor", config) if isinstance(config, dict) else {}
        return _limits(config, given.get("mm_processor_kwargs") or {})
    return None


def misfits(strategy: Strategy, limits: PixelLimits, side: int | None = None) -> list[str]:
    """What of the strategy the preprocessor would change, a line each.

    side: of the square that is shown, if it is another one than the strategy's.
    """
    if isinstance(strategy.image, AspectImage):
        return list(_aspect_misfits(strategy.image, limits))
    side = side or strategy.image.square_pixels
    multiple = limits.multiple_pixels
    shown_pixels = (round(side / multiple) * multiple) ** 2  # as the preprocessor rounds a side
    if limits.least_pixels <= shown_pixels <= limits.most_pixels:
        return []
    least = math.ceil(math.sqrt(limits.least_pixels) / multiple) * multiple
    most = math.floor(math.sqrt(limits.most_pixels) / multiple) * multiple
    return [
        f"the square of {side} pixels would be resized by the checkpoint's preprocessor, which "
        f"leaves squares of {least} to {most} pixels as they are "
        "(--reasoner-image-size-pixels sets another side)"
    ]


def _aspect_misfits(image: AspectImage, limits: PixelLimits) -> Iterator[str]:
    if image.most_pixels > limits.most_pixels:
        yield (
            f"image.most_pixels is {image.most_pixels}, and the checkpoint's preprocessor shrinks "
            f"images to {limits.most_pixels} pixels"
        )
    if image.least_pixels < limits.least_pixels:
        yield (
            f"image.least_pixels is {image.least_pixels}, and the checkpoint's preprocessor "
            f"enlarges images to {limits.least_pixels} pixels"
        )
    if image.multiple_pixels % limits.multiple_pixels:
        yield (
            f"image.multiple_pixels is {image.multiple_pixels}, and the checkpoint's preprocessor "
            f"makes sides multiples of {limits.multiple_pixels} pixels"
        )


def _local(checkpoint: str, name: str, engine_args: Mapping[str, Any]) -> Path | None:
    if Path(checkpoint).is_dir():
        path = Path(checkpoint) / name
        return path if path.is_file() else None
    try:
        found = try_to_load_from_cache(
            checkpoint,
            name,
            cache_dir=engine_args.get("download_dir"),
            revision=engine_args.get("revision"),
        )
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def _limits(config: Mapping[str, Any], changed: Mapping[str, Any]) -> PixelLimits | None:
    """`min_pixels` and `max_pixels` count before `size`, which newer files have in their place."""
    own = (
        {} if "size" in changed else {key: config.get(key) for key in ("min_pixels", "max_pixels")}
    )
    size = changed.get("size") or config.get("size") or {}
    if not isinstance(size, Mapping):
        return None
    numbers = (
        changed.get("min_pixels") or own.get("min_pixels") or size.get("shortest_edge"),
        changed.get("max_pixels") or own.get("max_pixels") or size.get("longest_edge"),
        config.get("patch_size"),
        config.get("merge_size"),
    )
    if not all(isinstance(number, int) and number > 0 for number in numbers):
        return None
    least, most, patch, merge = (int(number) for number in numbers if number)
    return PixelLimits(least, most, patch * merge)
