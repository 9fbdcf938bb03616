"""Settings of both models: which, and where they run."""

import os
import re
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field
from pydantic_settings import NoDecode

from wise_serve.contract.names import STRATEGY_NAME_PATTERN

MINIATURE: Final = "miniature"
NO_REASONER: Final = "none"


def _split_paths(value: object) -> object:
    """What a variable holds: paths, separated as in PATH."""
    return tuple(filter(None, value.split(os.pathsep))) if isinstance(value, str) else value


def _named_once(values: tuple[str, ...]) -> tuple[str, ...]:
    names = [value.partition("=")[0] for value in values]
    for name, value in zip(names, values, strict=True):
        if not re.match(STRATEGY_NAME_PATTERN, name) or not value.partition("=")[2]:
            raise ValueError(f"'{value[:100]}' is not NAME=PATH.")
        if names.count(name) > 1:
            raise ValueError(f"the name '{name}' is given twice.")
    return values


Paths = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_paths)]
NamedPaths = Annotated[Paths, AfterValidator(_named_once)]


class ModelSettings(BaseModel):
    """Which models run, and where."""

    title: ClassVar = "Models"

    reasoner: str = Field(
        MINIATURE,
        description="Reasoning checkpoint: 'miniature' (in the package), a folder, or a hub name; "
        "'none' serves /refine alone.",
    )
    reasoner_image_size_pixels: int | None = Field(
        None,
        ge=28,
        description="Side of the square image that the reasoner gets. Coordinates are in its "
        "pixels, so it is part of the checkpoint. Default: the strategy's own, or the miniature's.",
    )
    reasoner_lora: NamedPaths = Field(
        (),
        examples=["NAME=PATH"],
        description="NAME=PATH of a LoRA adapter of the reasoner: a folder in PEFT's format; may "
        "be given several times. A strategy whose file has `lora: NAME` uses it.",
    )
    segmenter: str = Field(
        MINIATURE,
        description="SAM 2 checkpoint: 'miniature' (in the package), a hub name such as "
        "facebook/sam2-hiera-large, or your own folder or file (.safetensors, .pt).",
    )
    segmenter_config: str | None = Field(
        None,
        description="Architecture of your own segmenter: a hydra file as SAM 2 has them, or the "
        "hub name of a published one. Default: the file in the folder; without one, the published "
        "architecture that has the shapes of the weights.",
    )
    strategy: str = Field(
        "wise-s",
        description="Strategy of requests without `strategy`: a built-in one, one of a strategy "
        "file, or one that comes with the package (`wise-serve strategies list`).",
    )
    strategy_file: Paths = Field(
        (), description="JSON file of your own strategy; may be given several times."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the models run.")
    tcmalloc: bool = Field(
        True,
        description="On a CPU: run the models with the memory allocator tcmalloc if it is "
        "installed (Debian: libtcmalloc-minimal4). Throughput is about 1.15 times as high, and "
        "memory does not grow. An allocator that LD_PRELOAD already names is kept.",
    )
