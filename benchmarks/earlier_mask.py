"""How close the result of an earlier mask is to that of SAM 2's own logits, on the miniature.

    python benchmarks/earlier_mask.py

For each shape of drawn scenes: a first prompt (a box, or a point), then another click. The second
answer is computed three times: with the logits of the first answer, as SAM 2 itself continues; with
the first mask as COCO RLE, as `POST /refine` accepts it, for several logits that a cell of the mask
may stand for; and with the clicks alone. Prints the IoU of the masks with those from the first
answer's logits, and with the drawn shapes; one line of JSON last.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco

from miniature.scenes import Shape, draw_scene
from reference import iou, predictor_of
from wise_serve.contract.prompts import COARSE_SIDE
from wise_serve.imaging import masks
from wise_serve.segmenter.sam2.checkpoints import load_model
from wise_serve.segmenter.sam2.stages import EARLIER_LOGIT, coarse_logits

LOGITS = (2.5, 5.0, EARLIER_LOGIT, 20.0)
Mask = NDArray[np.bool_]


def prompts(shape: Shape, rng: np.random.Generator, kind: str) -> tuple[dict[str, Any], Any]:
    """The first prompt, and the points of the second: inside the shape, and outside."""
    inside = np.argwhere(shape.mask)
    first = inside[rng.integers(len(inside))][::-1]
    more = inside[rng.integers(len(inside))][::-1]
    beside = np.argwhere(~shape.mask)
    away = beside[rng.integers(len(beside))][::-1]
    if kind == "box":
        return {"box": np.array(shape.box)}, ([more, away], [1, 0])
    asked = {"point_coords": np.array([first]), "point_labels": np.array([1])}
    return asked, ([first, more, away], [1, 1, 0])


def as_sent(mask: Mask, logit: float) -> NDArray[np.float32]:
    """The mask as RLE -> what the segmenter hands to SAM 2: 1 x r/4 x r/4, at +-`logit`."""
    counts = coco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
    cells = masks.coarse(mask.shape, masks.read_runs(mask.shape, counts), COARSE_SIDE)
    coverage = torch.from_numpy(
        np.frombuffer(cells, np.uint8).reshape(1, 1, COARSE_SIDE, -1).copy()
    )
    found = coarse_logits(coverage, 64)[0].numpy() * (logit / EARLIER_LOGIT)
    return np.asarray(found, np.float32)


def seconds(
    predictor: Any, shape: Shape, rng: np.random.Generator, kind: str
) -> Iterator[tuple[str, Mask]]:
    """The second answers, by the name of what they got of the first answer."""
    asked, (points, labels) = prompts(shape, rng, kind)
    found, _, low = predictor.predict(**asked, multimask_output=False)
    if "box" in asked:
        asked = {"box": asked["box"]}
    again = {**asked, "point_coords": np.array(points), "point_labels": np.array(labels)}
    told: dict[str, Any] = {"logits": low}
    told |= {f"mask, logit {logit:g}": as_sent(found[0].astype(bool), logit) for logit in LOGITS}
    for name, earlier in {**told, "nothing": None}.items():
        answer, _, _ = predictor.predict(**again, mask_input=earlier, multimask_output=False)
        yield name, answer[0].astype(bool)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=20)
    scenes = parser.parse_args().scenes
    torch.set_num_threads(1)  # the tensors are small
    predictor = predictor_of(load_model("miniature", torch.device("cpu")))
    near: dict[str, list[float]] = defaultdict(list)
    right: dict[str, list[float]] = defaultdict(list)
    for number in range(scenes):
        rng = np.random.default_rng(70_000 + number)
        scene = draw_scene(rng, max_side=640)
        predictor.set_image(np.array(scene.image))
        for shape in scene.shapes:
            for kind in ("box", "point"):
                answers = dict(seconds(predictor, shape, rng, kind))
                for name, mask in answers.items():
                    near[f"{kind}: {name}"].append(iou(mask, answers["logits"]))
                    right[f"{kind}: {name}"].append(iou(mask, shape.mask))
    figures = {
        name: {
            "to_logits_mean": round(float(np.mean(near[name])), 4),
            "to_logits_p5": round(float(np.percentile(near[name], 5)), 4),
            "to_shape_mean": round(float(np.mean(right[name])), 4),
            "count": len(near[name]),
        }
        for name in near
    }
    for name, row in figures.items():
        print(name, row)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
