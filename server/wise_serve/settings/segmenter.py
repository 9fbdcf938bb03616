"""Settings of the segmenter, SAM 2."""

import re
from typing import Annotated, ClassVar, Final

from pydantic import AfterValidator, BaseModel, Field

from wise_serve.contract.names import PrecisionChoice

_DEVICE: Final = re.compile(r"cpu|cuda(:[0-9]{1,2})?")


def _devices(text: str) -> str:
    named = split_devices(text)
    for one in named:
        if not _DEVICE.fullmatch(one):
            raise ValueError(
                f"'{one[:40]}' is not a device: use cpu, cuda, or a GPU such as cuda:1."
            )
        if named.count(one) > 1:
            raise ValueError(
                f"'{one}' is given twice; for several workers on a device use --segmenter-workers."
            )
    return text


def split_devices(text: str) -> list[str]:
    """The devices of the setting `segmenter_devices`."""
    return [one.strip() for one in text.split(",") if one.strip()]


class SegmenterSettings(BaseModel):
    """Batches, memory and precision of SAM 2."""

    title: ClassVar = "Segmenter"

    segmenter_devices: Annotated[str, AfterValidator(_devices)] = Field(
        "",
        description="Devices of the segmenter, separated by commas, such as cuda:0,cuda:1; each "
        "has its own workers. The image's digest decides which worker it goes to, so that its "
        "cached embedding is found again. Default: the one of --device.",
    )
    segmenter_workers: int = Field(
        1,
        ge=1,
        le=16,
        description="Workers on each device of the segmenter, each a process with a model, a queue "
        "and an embedding cache of its own. Use more than one only on a CPU.",
    )
    encode_batch_size: int | None = Field(
        None,
        ge=1,
        description="Maximum number of images encoded in one batch. Default: 8 on a CPU; on a GPU "
        "by a worker's "
        "share of its memory: 16 from 70 GiB on, 4 below 20 GiB, else 8 (not measured on a GPU).",
    )
    decode_batch_size: int | None = Field(
        None,
        ge=1,
        description="Maximum number of prompts decoded in one batch. Default: 4 times the encode "
        "batch size's default (not measured on a GPU).",
    )
    batch_wait_ms: float = Field(
        2.0, ge=0, description="Longest time that an item waits for others to fill its batch."
    )
    max_segmenter_queue: int = Field(
        256, ge=1, description="Maximum number of items that wait at a worker; above --max-prompts."
    )
    embedding_cache_bytes: int | None = Field(
        None,
        ge=0,
        description="Memory of a worker for the embeddings of recent images. Default: 256 MiB on a "
        "CPU; on a GPU half of the memory that --gpu-memory-utilization and SAM 2 itself leave "
        "free, divided equally among the workers on it.",
    )
    segmenter_threads: int = Field(1, ge=1, description="CPU threads of a worker's torch.")
    segmenter_precision: PrecisionChoice = Field(
        "auto",
        description="Number type of SAM 2's image encoder; the mask decoder stays in float32. "
        "'auto': float32 on a CPU; on a GPU the encoder in bfloat16, the decoder's products in "
        "TF32 (not measured on a GPU). In a half type embeddings and weights need half the memory, "
        "but masks change a little. IoU with the public code, mean and lowest of 198 miniature "
        "masks: 0.9999 and 0.998 in float16, 0.999 and 0.98 in bfloat16; in float32 1.0.",
    )
    segmenter_compile: bool = Field(
        False,
        description="Compile SAM 2 for batches of 1, 2, 4, ... at start-up, on a GPU as captured "
        "graphs. The start takes minutes longer and needs a C++ compiler. Meant for GPUs.",
    )
    heartbeat_s: float = Field(2.0, gt=0, description="A worker silent for this long is not ready.")
