"""Train the miniature segmenter further on the prompts of people.

Those are clicks of both labels, boxes without points, single points, and masks of earlier answers.
The image encoder and so the embeddings do not change. A third of the prompts are those of the first
training (`train_segmenter`), so that the model does not forget the reasoner's prompts.

    python -m miniature.train_clicks --seconds 600 --out segmenter.safetensors
    python -m miniature.train_clicks --evaluate segmenter.safetensors
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from miniature.segmenter_data import SIDE, Sample, draw_sample, noisy_prompt
from miniature.segmenter_loss import losses
from wise_serve.miniature import SEGMENTER_WEIGHTS
from wise_serve.segmenter.sam2.checkpoints import load_model
from wise_serve.segmenter.sam2.own import load_into, read_weights
from wise_serve.segmenter.sam2.stages import (
    EARLIER_LOGIT,
    EarlierMasks,
    Features,
    image_features,
    mask_logits,
    normalise,
)

BOX, FOREGROUND, BACKGROUND = (2, 3), 1, 0
EMA_DECAY = 0.998
LOW = SIDE // 4
CPU = torch.device("cpu")


class Scenes:
    """Scenes with their embeddings, since the encoder does not change."""

    def __init__(self, model: Any, rng: np.random.Generator, count: int) -> None:
        self._rng = rng
        self.samples: list[Sample] = []
        self.features: list[Features] = []
        for _ in range(count):
            sample = draw_sample(rng)
            with torch.no_grad():
                features = image_features(model, normalise(sample.image[None].float() / 255))
            self.samples.append(sample)
            self.features.append(features)

    def batch(self, size: int) -> tuple[Features, list[tuple[Sample, int]], Tensor]:
        """Shapes at random: their images' features, where they are, and their masks, 0 to 1."""
        chosen = self._rng.integers(0, len(self.samples), size)
        shapes = [int(self._rng.integers(len(self.samples[i].boxes))) for i in chosen]
        features = [self.features[i] for i in chosen]
        picked = [(self.samples[i], shape) for i, shape in zip(chosen, shapes, strict=True)]
        targets = torch.stack([sample.masks[shape] for sample, shape in picked]).float() / 255
        first, second = (torch.cat([one.high_res[level] for one in features]) for level in (0, 1))
        whole = Features(torch.cat([one.image for one in features]), (first, second))
        return whole, picked, targets


Prompts = tuple[Tensor, Tensor]  # N x P x 2 float32 in the square's frame, N x P int32


def first_prompts(rng: np.random.Generator, picked: list[tuple[Sample, int]], kind: str) -> Prompts:
    """Of one kind: "reasoner" (box and points), "box", or "point"."""
    rows = []
    for sample, shape in picked:
        mask = (sample.masks[shape] >= 128).numpy()
        x1, y1, x2, y2 = sample.boxes[shape].tolist()
        rows.append(torch.from_numpy(noisy_prompt(rng, mask, (x1, y1, x2, y2))))
        if kind == "point" and mask.any():
            ys, xs = np.nonzero(mask)
            at = rng.integers(len(xs))
            rows[-1][2] = torch.tensor([xs[at] + 0.5, ys[at] + 0.5])
    points = torch.stack(rows)
    labels = torch.tensor([*BOX, FOREGROUND, FOREGROUND], dtype=torch.int32)
    part = {"reasoner": slice(0, 3 + int(rng.random() < 0.8)), "box": slice(0, 2)}.get(
        kind, slice(2, 3)
    )
    return points[:, part], labels[part].expand(len(points), -1).clone()


def correcting_clicks(rng: np.random.Generator, found: Tensor, targets: Tensor) -> Prompts:
    """One click for each mask, where it is wrong; on the object if it is right everywhere."""
    points, labels = [], []
    for mask, target in zip(found.numpy(), (targets >= 0.5).numpy(), strict=True):
        wrong = np.argwhere(mask != target)
        places = wrong if len(wrong) else np.argwhere(target)
        y, x = places[rng.integers(len(places))] if len(places) else (0, 0)
        points.append([[x + 0.5, y + 0.5]])
        labels.append([int(target[y, x])])
    return torch.tensor(points), torch.tensor(labels, dtype=torch.int32)


def earlier_masks(logits: Tensor, rng: np.random.Generator) -> EarlierMasks | None:
    """Of N x h x w logits: as they are, as the server reads a mask of them, or none."""
    chance = rng.random()
    if chance < 0.2:
        return None
    if chance < 0.45:
        return EarlierMasks(
            logits[:, None].clamp(-32, 32), torch.ones(len(logits), dtype=torch.bool)
        )
    share = functional.avg_pool2d((enlarged(logits) > 0).float()[:, None], SIDE // LOW)
    return EarlierMasks((share * 2 - 1) * EARLIER_LOGIT, torch.ones(len(logits), dtype=torch.bool))


def enlarged(logits: Tensor) -> Tensor:
    """N x h x w -> N x SIDE x SIDE."""
    return functional.interpolate(logits[:, None], (SIDE, SIDE), mode="bilinear")[:, 0]


def session(
    model: Any, rng: np.random.Generator, scenes: Scenes, size: int, clicks: int, kind: str
) -> tuple[Tensor, Tensor, Tensor, list[float]]:
    """A first prompt and `clicks` clicks: logits and scores of the last, its targets, all IoUs."""
    features, picked, targets = scenes.batch(size)
    coordinates, labels = first_prompts(rng, picked, kind)
    earlier: EarlierMasks | None = None
    ious: list[float] = []
    for click in range(clicks + 1):
        with torch.set_grad_enabled(click == clicks and model.training):
            logits, scores = mask_logits(model, features, coordinates, labels, earlier)
        chosen = logits[:, 1 if kind == "point" and click == 0 else 0].detach()
        mask, truth = enlarged(chosen) > 0, targets >= 0.5
        both, either = (mask & truth).sum((1, 2)), (mask | truth).sum((1, 2))
        ious.append(float((both / either.clamp(min=1)).mean()))
        if click < clicks:
            more, their = correcting_clicks(rng, mask, targets)
            coordinates = torch.cat([coordinates, more.float()], dim=1)
            labels = torch.cat([labels, their], dim=1)
            earlier = earlier_masks(chosen, rng)
    return logits, scores, targets, ious


def train(arguments: argparse.Namespace) -> None:
    """Train for the time given, and write the averaged weights as float16 safetensors."""
    rng = np.random.default_rng(arguments.seed)
    torch.manual_seed(arguments.seed)
    model = _miniature(arguments.start)
    scenes = Scenes(model, rng, arguments.scenes)
    model.requires_grad_(False)
    decoder = model.sam_mask_decoder
    trained = [*model.sam_prompt_encoder.parameters()] + [
        value for name, value in decoder.named_parameters() if not name.startswith("conv_s")
    ]
    for value in trained:
        value.requires_grad_(True)
    decoder.train()
    model.sam_prompt_encoder.train()
    model.training = True
    average = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.AdamW(trained, lr=arguments.rate, weight_decay=0.01)
    begun, step, smooth = time.monotonic(), 0, 0.0
    while (done := (time.monotonic() - begun) / arguments.seconds) < 1:
        for group in optimiser.param_groups:
            group["lr"] = arguments.rate * min(step / 50, 0.5 + 0.5 * math.cos(math.pi * done))
        kind = ("reasoner", "box", "point")[rng.integers(3)]
        clicks = int(rng.integers(0, 5)) if rng.random() < 0.65 else 0
        logits, scores, targets, ious = session(model, rng, scenes, arguments.batch, clicks, kind)
        three = losses(logits[:, 1:], scores[:, 1:], targets)
        one = losses(logits[:, :1].expand(-1, 3, -1, -1), scores[:, :1].expand(-1, 3), targets)
        optimiser.zero_grad()
        loss: Any = three[0] + three[1] + one[0] + one[1]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        step += 1
        with torch.no_grad():
            for name, value in model.state_dict().items():
                average[name].lerp_(value, 1 - min(EMA_DECAY, (1 + step) / (10 + step)))
        smooth = smooth * 0.98 + ious[-1] * 0.02
        if step % 100 == 0:
            print(f"{step} steps, {done:.0%}: IoU {smooth:.3f}", flush=True)
    halves = {name: value.half().contiguous() for name, value in average.items()}
    save_file(halves, arguments.out, metadata={"clicks_steps": str(step)})


def _miniature(weights: Path | None) -> Any:
    """The miniature architecture with these weights, or the packaged ones."""
    model = load_model("miniature", CPU)
    if weights is not None:
        load_into(model, read_weights(weights), "the miniature")
    return model


def evaluate(weights: Path, count: int) -> dict[str, list[float]]:
    """Mean IoU after the first prompt and after each of five clicks, on scenes never trained on."""
    model = _miniature(weights)
    scenes = Scenes(model, np.random.default_rng(99_000), count)
    found = {}
    for kind in ("reasoner", "box", "point"):
        rng = np.random.default_rng(7)
        with torch.no_grad():
            *_, ious = session(model, rng, scenes, 2 * count, 5, kind)
        found[kind] = [round(value, 3) for value in ious]
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--start", type=Path, default=SEGMENTER_WEIGHTS, help="weights to start from"
    )
    parser.add_argument("--out", type=Path, default=Path("segmenter.safetensors"))
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--scenes", type=int, default=300, help="scenes to train on")
    parser.add_argument("--batch", type=int, default=12, help="prompts a step")
    parser.add_argument("--rate", type=float, default=5e-4, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--evaluate", type=Path, metavar="WEIGHTS", help="print IoUs, and end")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.evaluate:
        print(json.dumps(evaluate(arguments.evaluate, 60)))
    else:
        train(arguments)


if __name__ == "__main__":
    main()
