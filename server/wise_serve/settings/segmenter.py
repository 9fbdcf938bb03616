"""Settings of the segmenter, SAM 2."""

from typing import ClassVar

from pydantic import BaseModel, Field

from wise_serve.contract.names import PrecisionChoice


class SegmenterSettings(BaseModel):
    """Batches, memory and precision of SAM 2."""

    title: ClassVar = "Segmenter"

    encode_batch_size: int = Field(8, ge=1, description="Most images encoded in one batch.")
    decode_batch_size: int = Field(32, ge=1, description="Most prompts decoded in one batch.")
    batch_wait_ms: float = Field(
        2.0, ge=0, description="Longest wait of an item for batch-mates, device idle or not."
    )
    max_segmenter_queue: int = Field(256, ge=1, description="Items waiting at the segmenter.")
    embedding_cache_bytes: int = Field(256 * 2**20, ge=0, description="Embeddings kept (LRU).")
    segmenter_threads: int = Field(1, ge=1, description="CPU threads of the segmenter's torch.")
    segmenter_precision: PrecisionChoice = Field(
        "auto",
        description="What SAM 2's image encoder computes in; the mask decoder stays in float32. "
        "'auto': float32 on a CPU; on a GPU the encoder in bfloat16, the decoder's products in "
        "TF32 (not measured on a GPU). In a half type embeddings and weights take half the memory, "
        "but masks move a little. IoU with the public code, mean and least of 198 miniature masks: "
        "0.9999 and 0.998 in float16, 0.999 and 0.98 in bfloat16; in float32 1.0.",
    )
    segmenter_compile: bool = Field(
        False,
        description="Compile SAM 2 for batches of 1, 2, 4, ... at start-up, on a GPU as captured "
        "graphs: minutes more to start, and a C++ compiler is needed. Meant for GPUs.",
    )
    heartbeat_s: float = Field(2.0, gt=0, description="A worker silent for this long is not ready.")
