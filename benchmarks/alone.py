"""The segmenter's worker without a server: measures how much faster decoding is in one batch."""

import time
from collections.abc import Sequence

import numpy as np
import torch

from miniature.scenes import draw_scene
from reference import iou
from wise_serve.contract.prompts import Prompt
from wise_serve.segmenter.model import DecodedMask, DecodeItem
from wise_serve.segmenter.sam2.checkpoints import load_model
from wise_serve.segmenter.sam2.model import Sam2
from wise_serve.segmenter.sam2.stages import Features
from wise_serve.settings import MINIATURE

REPEATS = 20


def decoder_across_images(count: int = 16) -> tuple[float, float]:
    """One prompt on each of `count` images, decoded one by one and in one batch.

    The miniature on one CPU thread. Gives ms one by one / ms batched, and the worst IoU of two
    masks of one prompt.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _compare(*_items(count))
    finally:
        torch.set_num_threads(threads)


def _items(count: int) -> tuple[Sam2, list[DecodeItem[Features]]]:
    device = torch.device("cpu")
    sam = Sam2(load_model(MINIATURE, device), device)
    items = []
    for seed in range(count):
        scene = draw_scene(np.random.default_rng(seed), max_side=640)
        (features,) = sam.encode([np.array(scene.image)])
        shape = scene.shapes[0]
        prompt = Prompt(shape.box, (shape.centre, shape.centre))
        items.append(DecodeItem(features, prompt, shape.mask.shape))
    return sam, items


def _compare(sam: Sam2, items: list[DecodeItem[Features]]) -> tuple[float, float]:
    def apart() -> list[DecodedMask]:
        return [sam.decode([item])[0] for item in items]

    def together() -> list[DecodedMask]:
        return sam.decode(items)

    worst = min(iou(a.mask, b.mask) for a, b in zip(apart(), together(), strict=True))
    times: Sequence[list[float]] = ([], [])
    for _ in range(REPEATS):  # alternately, so that a busy moment affects both
        for call, taken in zip((apart, together), times, strict=True):
            begun = time.perf_counter()
            call()
            taken.append(time.perf_counter() - begun)
    return float(np.median(times[0]) / np.median(times[1])), worst


if __name__ == "__main__":
    faster, worst_iou = decoder_across_images()
    print(f"16 masks one by one / in one batch: {faster:.2f}x; worst IoU {worst_iou:.4f}")
