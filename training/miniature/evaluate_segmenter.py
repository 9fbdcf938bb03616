"""How accurate the miniature segmenter is on held-out scenes, at their own resolution."""

from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from miniature.scenes import draw_scene
from miniature.segmenter_data import noisy_prompt
from wise_serve.contract.prompts import Prompt
from wise_serve.segmenter.model import DecodeItem
from wise_serve.segmenter.sam2.model import Sam2

HELD_OUT_SEED = 9_000_000  # training never draws these scenes: its seeds are [seed, step]


def evaluate(model: Any, scenes: int) -> dict[str, dict[str, float]]:
    """IoU of every shape of `scenes` scenes, prompted exactly and with training's noise.

    Keys: exact, noisy, and thin (aspect ratio 6:1 or 1:6, noisy); values: mean, the share of masks
    with IoU >= 0.8, and the mean distance of the predicted IoU from the real one.
    """
    sam = Sam2(model, torch.device("cpu"))
    results: dict[str, list[tuple[float, float]]] = {"exact": [], "noisy": [], "thin": []}
    for number in tqdm(range(scenes), desc="scenes"):
        for thin in (False, True):
            if thin and number % 5:
                continue
            rng = np.random.default_rng(HELD_OUT_SEED + 2 * number + thin)
            aspect = (6.0, 1 / 6)[number % 2] if thin else None
            scene = draw_scene(rng, aspect=aspect)
            features = sam.encode([np.asarray(scene.image)])[0]
            for name in ("thin",) if thin else ("exact", "noisy"):
                noise = 0.0 if name == "exact" else 1.0
                items = []
                for shape in scene.shapes:
                    (x1, y1), (x2, y2), *points = noisy_prompt(
                        rng, shape.mask, shape.box, noise
                    ).tolist()
                    prompt = Prompt((x1, y1, x2, y2), tuple((x, y) for x, y in points))
                    items.append(DecodeItem(features, prompt, shape.mask.shape))
                for shape, decoded in zip(scene.shapes, sam.decode(items), strict=True):
                    union = (shape.mask | decoded.mask).sum()
                    iou = float((shape.mask & decoded.mask).sum() / max(union, 1))
                    results[name].append((iou, decoded.score))
    return {name: _summary(np.array(pairs)) for name, pairs in results.items()}


def _summary(pairs: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
    iou, score = pairs.T
    return {
        "shapes": len(iou),
        "mean_iou": round(float(iou.mean()), 4),
        "share_at_0.8": round(float((iou >= 0.8).mean()), 4),
        "score_error": round(float(np.abs(iou - score).mean()), 4),
    }
