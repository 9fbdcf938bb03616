"""How much half precision changes SAM 2's masks: in the encoder, the decoder and both."""

import json
from collections.abc import Sequence

import numpy as np
import torch

from miniature.scenes import Scene, draw_scene
from reference import iou
from wise_serve.contract.names import Precision
from wise_serve.contract.prompts import Prompt
from wise_serve.segmenter.model import DecodedMask, DecodeItem
from wise_serve.segmenter.sam2.checkpoints import load_model
from wise_serve.segmenter.sam2.model import Sam2
from wise_serve.segmenter.sam2.precision import Levers
from wise_serve.settings import MINIATURE

SCENES = 20
HALVES: tuple[Precision, ...] = ("bfloat16", "float16")


def decoded(levers: Levers, scenes: Sequence[Scene]) -> list[DecodedMask]:
    """Decode every shape of the scenes, with zero, one and two points."""
    device = torch.device("cpu")
    sam = Sam2(load_model(MINIATURE, device), device, levers)
    embeddings = sam.encode([np.array(scene.image) for scene in scenes])
    items = [
        DecodeItem(features, Prompt(shape.box, (shape.centre,) * points), shape.mask.shape)
        for features, scene in zip(embeddings, scenes, strict=True)
        for shape in scene.shapes
        for points in (0, 1, 2)
    ]
    return sam.decode(items)


def main() -> None:
    """Run the command line."""
    scenes = [draw_scene(np.random.default_rng(5000 + i), max_side=700) for i in range(SCENES)]
    expected = decoded(Levers(), scenes)
    found: dict[str, dict[str, float]] = {}
    print("| computed in | mean IoU | least | below 0.999 |\n|---|---|---|---|")
    for half in HALVES:
        parts = {
            "both": Levers(half, half),
            "encoder alone": Levers(half),
            "decoder alone": Levers(decoder=half),
        }
        for part, levers in parts.items():
            masks = decoded(levers, scenes)
            values = np.array([iou(a.mask, b.mask) for a, b in zip(masks, expected, strict=True)])
            mean, least, below = values.mean(), values.min(), (values < 0.999).mean()
            print(f"| {half}, {part} | {mean:.4f} | {least:.3f} | {below:.0%} |")
            found[f"{half}, {part}"] = {"mean": round(float(mean), 5), "least": round(least, 5)}
    print(json.dumps({"masks": len(expected), **found}))


if __name__ == "__main__":
    main()
