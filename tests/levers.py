"""The segmenter with one lever at a time, and what it makes of a few scenes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reference import iou
from segmenting import CPU, prompts_of, scene
from wise_serve.contract.prompts import Prompt
from wise_serve.segmenter.model import DecodedMask, DecodeItem
from wise_serve.segmenter.sam2.checkpoints import load_model
from wise_serve.segmenter.sam2.model import Sam2
from wise_serve.segmenter.sam2.precision import Levers

SCENES = 6


def sam(levers: Levers | None = None) -> Sam2:
    return Sam2(load_model("miniature", CPU), CPU, levers)


def images() -> list[NDArray[np.uint8]]:
    return [scene(seed)[1] for seed in range(SCENES)]


def prompts(points: int | None = None) -> list[tuple[int, Prompt]]:
    """Index of the image, and the prompt: each shape, with 0 to 3 points in turn, or as many."""
    shapes = [(i, prompt) for i in range(SCENES) for prompt in prompts_of(scene(i)[0])]
    return [
        (i, Prompt(prompt.box, prompt.points[:1] * (number % 4 if points is None else points)))
        for number, (i, prompt) in enumerate(shapes)
    ]


def decode(
    model: Sam2, asked: Sequence[tuple[int, Prompt]], batch: int | None = None
) -> list[DecodedMask]:
    pictures = images()
    features = model.encode(pictures)
    items = [DecodeItem(features[i], prompt, pictures[i].shape[:2]) for i, prompt in asked]
    batch = batch or len(items)
    parts = [items[start : start + batch] for start in range(0, len(items), batch)]
    return [mask for part in parts for mask in model.decode(part)]


def least_iou(some: Sequence[DecodedMask], others: Sequence[DecodedMask]) -> float:
    return min(iou(one.mask, other.mask) for one, other in zip(some, others, strict=True))
