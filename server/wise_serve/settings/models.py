"""Settings of both models: which, and where they run."""

from typing import ClassVar, Final, Literal

from pydantic import BaseModel, Field

from wise_serve.contract.names import StrategyName

MINIATURE: Final = "miniature"
NO_REASONER: Final = "none"


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
    tcmalloc: bool = Field(
        True,
        description="Models on a CPU: run them on the memory allocator tcmalloc where it is "
        "installed (Debian: libtcmalloc-minimal4). About 1.15 times the throughput, and memory "
        "that stays level. An allocator that LD_PRELOAD names already is kept.",
    )
