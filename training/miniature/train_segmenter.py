"""Train the miniature SAM 2 on drawn scenes, export its weights, and measure it.

    python -m miniature.train_segmenter --seconds 2700 --seed 1 --out runs/segmenter
    python -m miniature.train_segmenter --export runs/segmenter
    python -m miniature.train_segmenter --evaluate

A run that is started again with the same --out continues from its last checkpoint.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tqdm import tqdm

from miniature.evaluate_segmenter import evaluate
from miniature.segmenter_aids import Aids, start_local
from miniature.segmenter_data import Sample, augment, batch_prompts, draw_sample
from miniature.segmenter_loss import losses
from wise_serve.miniature import SEGMENTER_WEIGHTS
from wise_serve.segmenter.sam2.checkpoints import build_miniature
from wise_serve.segmenter.sam2.own import load_into, read_weights
from wise_serve.segmenter.sam2.stages import image_features, mask_logits, normalise

POOL_SCENES = 6000  # scenes kept to be shown again, mirrored or turned
CHECKPOINT_EVERY_S = 120.0
EMA_DECAY = 0.998  # the exported weights are this moving average
WARM_UP = 0.03  # share of the run


class Pool:
    """Scenes to train on: fresh ones, and known ones turned or mirrored."""

    def __init__(self, rng: np.random.Generator, fresh: int, batch: int) -> None:
        self._rng, self._fresh, self._batch = rng, fresh, batch
        self._known: list[Sample] = []

    def next(self) -> list[Sample]:
        """One batch."""
        samples = [draw_sample(self._rng) for _ in range(self._fresh)]
        for sample in samples:
            if len(self._known) < POOL_SCENES:
                self._known.append(sample)
            else:
                self._known[self._rng.integers(POOL_SCENES)] = sample
        for index in self._rng.integers(0, len(self._known), self._batch - self._fresh):
            samples.append(augment(self._known[index], self._rng))
        return samples


class Run:
    """One training run and its folder."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        torch.manual_seed(arguments.seed)
        self.arguments = arguments
        self.model = build_miniature()
        start_local(self.model)
        self.aids = Aids(self.model)
        for name in ("memory_attention", "memory_encoder"):  # not used on single images
            getattr(self.model, name).requires_grad_(False)
        self.optimiser = torch.optim.AdamW(self._groups(), lr=arguments.rate, betas=(0.9, 0.98))
        self.step, self.elapsed_s = 0, 0.0
        self.average = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.path = arguments.out / "checkpoint.pt"
        if self.path.exists():
            self._load()
        rng = np.random.default_rng([arguments.seed, self.step])
        self.rng = rng
        self.pool = Pool(rng, arguments.fresh, arguments.batch)

    def _groups(self) -> list[dict[str, Any]]:
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        parameters += self.aids.parameters()
        return [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": 0.02},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]

    def _load(self) -> None:
        state = torch.load(self.path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.aids.load_state_dict(state["aids"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average, self.step = state["average"], state["step"]
        self.elapsed_s = state["elapsed_s"]

    def save(self) -> None:
        """Write the checkpoint in one move, so that a kill leaves the last one whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        torch.save(
            {
                "model": self.model.state_dict(),
                "aids": self.aids.state_dict(),
                "average": self.average,
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
                "elapsed_s": self.elapsed_s,
            },
            partial,
        )
        partial.replace(self.path)

    def progress(self) -> float:
        """Share of the run that is done, by steps or by time, 0..1."""
        by_time = self.elapsed_s / self.arguments.seconds if self.arguments.seconds else 0.0
        return float(max(self.step / self.arguments.steps, by_time))

    def train_step(self) -> dict[str, float]:
        """One batch; returns the losses."""
        done = self.progress()
        factor = min(done / WARM_UP + 0.02, 1.0, 0.5 + 0.5 * math.cos(math.pi * done) + 0.005)
        for group in self.optimiser.param_groups:
            group["lr"] = self.arguments.rate * factor
        samples = self.pool.next()
        index, prompts, targets = batch_prompts(self.rng, samples, self.arguments.shapes)
        images = normalise(torch.stack([sample.image for sample in samples]).float() / 255)
        tokens = 3 if self.rng.random() < 0.15 else 4  # the corners, then one point or two
        features = image_features(self.model, images)
        logits, scores = mask_logits(
            self.model,
            features.take(index),
            prompts.coordinates[:, :tokens],
            prompts.labels[:, :tokens],
        )
        logits, scores = logits[:, 1:], scores[:, 1:]  # the three masks for ambiguous prompts
        mask_loss, iou_loss, iou = losses(logits, scores, targets)
        figures = torch.stack([sample.masks.amax(dim=0) for sample in samples]).float() / 255
        aid_loss = self.aids(features, targets, figures)
        self.optimiser.zero_grad()
        (mask_loss + iou_loss + aid_loss).backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        self._update_average()
        return {
            "mask": mask_loss.item(),
            "iou_head": iou_loss.item(),
            "aids": aid_loss.item(),
            "iou": iou.item(),
            "norm": norm.item(),
        }

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(EMA_DECAY, (1 + self.step) / (10 + self.step))
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)

    def train(self) -> None:
        """Train until the steps or the seconds are used up."""
        saved_s = self.elapsed_s
        smooth: dict[str, float] = {}
        with tqdm(total=1.0, initial=self.progress(), bar_format=_BAR, mininterval=5) as bar:
            for started in _clock():
                if self.progress() >= 1:
                    break
                measured = self.train_step()
                self.elapsed_s += time.monotonic() - started
                for key, value in measured.items():
                    smooth[key] = smooth.get(key, value) * 0.98 + value * 0.02
                bar.n = min(self.progress(), 1.0)
                bar.set_postfix(step=self.step, **{k: f"{v:.4f}" for k, v in smooth.items()})
                if self.elapsed_s - saved_s > CHECKPOINT_EVERY_S:
                    self.save()
                    saved_s = self.elapsed_s
        self.save()


_BAR = "{percentage:3.1f}%|{bar:20}| {elapsed} {postfix}"


def _clock() -> Iterator[float]:
    while True:
        yield time.monotonic()


def export(run: Path, weights: Path = SEGMENTER_WEIGHTS) -> None:
    """Write a run's averaged weights as float16 safetensors."""
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    weights.parent.mkdir(parents=True, exist_ok=True)
    halves = {name: value.half().contiguous() for name, value in state["average"].items()}
    save_file(halves, weights, metadata={"steps": str(state["step"])})
    print(f"{weights.name}: {weights.stat().st_size / 1e6:.1f} MB after {state['step']} steps")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=6000, help="optimiser steps (default 6000)")
    parser.add_argument("--seconds", type=float, help="time limit; the schedule adapts to it")
    parser.add_argument("--seed", type=int, default=1, help="of weights and scenes")
    parser.add_argument("--out", type=Path, default=Path("runs/segmenter"), help="run's folder")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--batch", type=int, default=8, help="images a step")
    parser.add_argument("--fresh", type=int, default=3, help="how many of them are new")
    parser.add_argument("--shapes", type=int, default=3, help="prompts of an image, at most")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--export", type=Path, metavar="RUN", help="write a run's weights, and end")
    parser.add_argument(
        "--evaluate",
        nargs="?",
        const=SEGMENTER_WEIGHTS,
        type=Path,
        metavar="SEGMENTER_WEIGHTS",
        help="print the mean IoU on scenes never trained on, and end",
    )
    parser.add_argument("--scenes", type=int, default=300, help="scenes of --evaluate")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.export:
        export(arguments.export)
    elif arguments.evaluate:
        model = build_miniature().eval()
        load_into(model, read_weights(arguments.evaluate), "the miniature")
        print(json.dumps(evaluate(model, arguments.scenes), indent=1))
    else:
        Run(arguments).train()


if __name__ == "__main__":
    main()
