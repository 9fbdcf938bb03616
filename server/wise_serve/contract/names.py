"""Names that several rooms share: values of the API, of settings and of metrics."""

from typing import Final, Literal

STRATEGY_NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9._-]{0,63}$"
"""Of a strategy's name. Which names a server knows is decided when it starts."""

MaskFormat = Literal["rle", "png", "polygon"]
Precision = Literal["float32", "bfloat16", "float16"]
PrecisionChoice = Literal["auto", "float32", "bfloat16", "float16"]
"""`auto`: as suits the device; see `Levers` of the segmenter."""

MaskChoice = Literal["best", "single", "all"]
"""Which of SAM 2's masks for a prompt: the best of its three for a prompt that may mean several
things (a part, the whole, a group), its one for a prompt that is clear, or all three."""

REFINE: Final = "refine"
"""Stands for the strategy in the metrics of requests that have none: POST /refine."""

Status = Literal["found", "no_target", "unparsed", "truncated"]
"""The outcome of an answer; see `SegmentResult.status`."""

RequestStage = Literal["admission", "body", "decode", "reason", "segment", "respond"]
"""Where a request is, for the count of cancelled ones."""

Operation = Literal["encode", "decode"]
"""What the segmenter does in batches."""

CacheResult = Literal["hit", "shared", "miss"]
"""Whether an image's embedding existed, was being computed for another request, or neither."""
