"""Every setting of the server: one frozen class, from which flags, environment and docs are made.

A field `max_body_bytes` is the flag `--max-body-bytes` and the variable `WISE_MAX_BODY_BYTES`; its
description is its help text and its line in docs/operations.md. A new setting is a field of the
group that it belongs to, in one of the modules beside this one.
"""

from typing import Final, Self

from pydantic import BaseModel, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from wise_serve.miniature import REASONER_FOLDER, REASONER_IMAGE_SIZE
from wise_serve.settings.engine import EngineSettings
from wise_serve.settings.gateway import (
    AddressSettings,
    LimitSettings,
    LoadSettings,
    LogSettings,
    split_origins,
)
from wise_serve.settings.models import MINIATURE, NO_REASONER, ModelSettings
from wise_serve.settings.segmenter import SegmenterSettings, split_devices

__all__ = ["GROUPS", "MINIATURE", "NO_REASONER", "Settings", "split_origins"]


class Settings(
    AddressSettings,
    ModelSettings,
    LimitSettings,
    LoadSettings,
    SegmenterSettings,
    EngineSettings,
    LogSettings,
    BaseSettings,
):
    """Read once, by the command line; nothing else reads the environment."""

    model_config = SettingsConfigDict(env_prefix="WISE_", frozen=True, extra="forbid")

    @model_validator(mode="after")
    def _a_refine_fits_the_queue(self) -> Self:
        if self.max_segmenter_queue <= self.max_prompts:
            raise ValueError(
                "--max-segmenter-queue must be above --max-prompts: a worker accepts a request's "
                "image and prompts together, or refuses them."
            )
        return self

    @property
    def reasoner_checkpoint(self) -> str:
        """The reasoner's folder or hub name, as vLLM is given it."""
        return str(REASONER_FOLDER) if self.reasoner == MINIATURE else self.reasoner

    @property
    def reasoner_square_pixels(self) -> int | None:
        """Side of the square that the reasoner sees; None: the strategy's own."""
        default = REASONER_IMAGE_SIZE if self.reasoner == MINIATURE else None
        return self.reasoner_image_size_pixels or default

    @property
    def adapters(self) -> dict[str, str]:
        """Folders of the reasoner's LoRA adapters, by name."""
        named = (one.partition("=") for one in self.reasoner_lora)
        return {name: path for name, _, path in named}

    @property
    def segmenter_placements(self) -> list[str | None]:
        """The device of each worker of the segmenter, as torch names it; None: that of `device`."""
        devices: list[str | None] = [*split_devices(self.segmenter_devices)] or [None]
        return [device for device in devices for _ in range(self.segmenter_workers)]


# How --help and docs/operations.md group the settings: title to names of fields.
GROUPS: Final[dict[str, tuple[str, ...]]] = {
    group.title: tuple(group.model_fields)
    for group in Settings.__bases__
    if issubclass(group, BaseModel) and hasattr(group, "title")
}
