"""Train the miniature reasoner from scratch: `python -m miniature.train_reasoner --help`.

The loss is cross-entropy on the assistant's turns of all four strategies, with aids that exist
only in training (docs/decisions/0004-training-the-miniatures.md): heads that predict what each
image cell shows and where it is, a loss that draws two attention heads to the cells of the shape
that is mentioned, and number targets spread over their neighbours. A run that is started again
continues from its last checkpoint.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import Qwen2_5_VLForConditionalGeneration

from miniature.reasoner_data import SHORT_SHARE, Examples, TrainingBatch
from miniature.reasoner_forward import Activations, forward, see, vision_rotary
from miniature.reasoner_loss import Loss, number_ids
from miniature.reasoner_model import TrainingAids, make_config, make_model
from miniature.tokenizer import build_tokenizer, special_token_ids

HELD_OUT_SEED = 900_001
Forward = Callable[..., Activations]


@torch.no_grad()
def score(
    data: TrainingBatch, logits: Tensor, values: Tensor, drawn_wordings: bool = False
) -> dict[str, list[float]]:
    """By family, whether a rationale has no wrong token; and the mean error of coordinates, pixels.
    The model reads the right tokens up to the one that it predicts (teacher forcing).
    `drawn_wordings`: only tokens about a shape count, since other words could be chosen instead.
    """
    found: dict[str, list[float]] = {}
    best = logits.argmax(-1)
    at = (data.labels >= 0).nonzero()
    place = {tuple(where): i for i, where in enumerate(at.tolist())}
    for row, turns in enumerate(data.turns):
        for column, turn in enumerate(turns):
            wrong, errors = False, []
            for offset, label in enumerate(turn.labels):
                if label < 0:
                    continue
                guess = int(best[place[row, column, offset]])
                if values[label] >= 0 and values[guess] >= 0:
                    errors.append(abs(int(values[guess]) - int(values[label])))
                elif guess != label and (not drawn_wordings or turn.looks[offset] >= 0):
                    wrong = True
            name = f"{turn.family}/{'s' if turn.strategy == 'wise-s' else 'l'}"
            found.setdefault(name, []).append(float(not wrong))
            if errors:
                found.setdefault("error_pixels", []).append(float(np.mean(errors)))
    return found


def exported_weights(folder: Path) -> dict[str, Tensor]:
    """The state dict of a folder that `miniature.export_reasoner` wrote, as float32."""
    loaded = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    return dict(loaded.state_dict())


class Trainer:
    """Model, optimiser and checkpoints of one run in `out`."""

    def __init__(self, args: argparse.Namespace) -> None:
        torch.manual_seed(args.seed)
        self.args, self.step = args, 0
        self.tokenizer = build_tokenizer()
        ids = special_token_ids(self.tokenizer)
        vocabulary = self.tokenizer.get_vocab_size()
        numbers = number_ids(self.tokenizer)
        self.loss = Loss(numbers, vocabulary)
        self.model = make_model(make_config(ids, vocabulary), numbers)
        self.aids = TrainingAids()
        self.rotary = vision_rotary(self.model)
        self.forward: Forward = torch.compile(forward) if args.compile else forward
        self.see: Forward = torch.compile(see) if args.compile else see
        weights = [*self.model.parameters(), *self.aids.parameters()]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [w for w in weights if w.ndim >= 2], "weight_decay": 0.03},
                {"params": [w for w in weights if w.ndim < 2], "weight_decay": 0.0},
            ],
            lr=args.learning_rate,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.weights = weights
        self.checkpoint = Path(args.out) / "checkpoint.pt"
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.aids.load_state_dict(state["aids"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]
        elif args.start is not None:
            self.model.load_state_dict(exported_weights(args.start))

    def batches(self) -> Iterator[TrainingBatch]:
        """Fresh batches for the current stage; a resumed run draws other scenes than before."""
        args = self.args
        speaks = self.step >= args.see_steps
        short = SHORT_SHARE if self.step >= args.short_steps else 1.0
        seed = args.seed * 100_000 + self.step
        examples = Examples(self.tokenizer, seed, args.images, speaks, short)
        return iter(DataLoader(examples, batch_size=None, num_workers=1, prefetch_factor=6))

    def save(self) -> None:
        """Write the checkpoint and then rename it, so that a kill leaves a whole file."""
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        partial = self.checkpoint.with_suffix(".partial")
        state: dict[str, Any] = {
            "model": self.model.state_dict(), "aids": self.aids.state_dict(),
            "optimizer": self.optimizer.state_dict(), "step": self.step,
        }  # fmt: skip
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def learning_rate(self) -> float:
        """The learning rate: in each stage a linear warm-up, then a cosine down to a fiftieth."""
        args, warm = self.args, 100
        seeing = self.step < args.see_steps
        at = self.step if seeing else self.step - args.see_steps
        length = args.see_steps if seeing else args.steps - args.see_steps
        peak = float(args.see_learning_rate if seeing else args.learning_rate)
        if at < warm:
            return peak * (at + 1) / warm
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, (at - warm) / max(1, length - warm))))
        return peak * (0.02 + 0.98 * cosine)

    def compute(self, data: TrainingBatch, run: Forward) -> tuple[dict[str, Tensor], Tensor]:
        """The losses by name, and the logits where a label is."""
        with torch.autocast("cpu", torch.bfloat16):
            out = run(self.model, data.batch, self.rotary)
            text, logits = self.loss.text(self.model, out.hidden, data)
        looking = self.loss.looking(out, data)
        seeing = self.loss.seeing(self.aids, out, data)
        return {"text": text, "looking": looking, "seeing": seeing}, logits

    def train_step(self, data: TrainingBatch) -> dict[str, float]:
        """Train on one batch; returns the losses by name."""
        rate = self.learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self.step < self.args.see_steps:
            with torch.autocast("cpu", torch.bfloat16):
                out = self.see(self.model, data.batch, self.rotary)
            if self.args.start is not None:  # the model sees already, only the new aids learn
                out = replace(out, cells=out.cells.detach(), placed=out.placed.detach())
            parts = {"seeing": self.loss.seeing(self.aids, out, data)}
            loss = parts["seeing"]
        else:
            parts, _ = self.compute(data, self.forward)
            loss = parts["text"] + parts["looking"] + 0.5 * parts["seeing"]
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        self.step += 1
        return {name: float(value.detach()) for name, value in parts.items()} | self.loss.seen

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """On 48 held-out scenes: 32 with short turns, 16 with long ones."""
        examples = Examples(self.tokenizer, HELD_OUT_SEED, 16)
        rng = np.random.default_rng(HELD_OUT_SEED)
        found: dict[str, list[float]] = {}
        for short in (True, True, False):
            data = examples.collate([examples.example(rng, short) for _ in range(16)])
            logits = self.compute(data, forward)[1]
            for name, values in score(data, logits, self.loss.value_of).items():
                found.setdefault(name, []).extend(values)
        return {name: round(float(np.mean(values)), 3) for name, values in sorted(found.items())}


def parse_arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=4450, help="optimiser steps in all")
    parser.add_argument(
        "--see-steps", type=int, default=1500, help="how many of them train on images alone"
    )
    parser.add_argument(
        "--short-steps", type=int, default=2700, help="until this step, only short strategies"
    )
    parser.add_argument(
        "--start", type=Path, help="begin with the weights of this exported folder, not at random"
    )
    parser.add_argument("--images", type=int, default=16, help="images a step, five queries each")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--see-learning-rate", type=float, default=2.5e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="fuse the model's operations first")
    parser.add_argument(
        "--out", default="runs/reasoner", help="folder of the checkpoint and the log"
    )
    parser.add_argument(
        "--max-steps-now", type=int, default=None, help="stop early (to be resumed)"
    )
    return parser.parse_args()


def main() -> None:
    """Run the command line."""
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    trainer = Trainer(args)
    print(f"{sum(w.numel() for w in trainer.model.parameters()) / 1e6:.2f} M parameters")
    # A resumed run draws other scenes than the run before it did.
    loader = trainer.batches()
    last = min(args.steps, trainer.step + (args.max_steps_now or args.steps))
    log = Path(args.out) / "log.jsonl"
    log.parent.mkdir(parents=True, exist_ok=True)
    bar = tqdm(range(trainer.step, last), initial=trainer.step, total=args.steps, mininterval=10)
    recent: list[dict[str, float]] = []
    for _ in bar:
        if trainer.step in (args.see_steps, args.short_steps):
            loader = trainer.batches()
        recent.append(trainer.train_step(next(loader)))
        if trainer.step % 50 == 0:
            means = {
                name: round(float(np.mean([r[name] for r in recent])), 4) for name in recent[0]
            }
            recent.clear()
            trainer.save()
            if trainer.step % 250 == 0 and trainer.step > args.see_steps:
                means |= trainer.evaluate()
            line = {"step": trainer.step, "time_s": round(time.time()), **means}
            with log.open("a") as file:
                file.write(json.dumps(line) + "\n")
            tqdm.write(json.dumps(line))
    trainer.save()


if __name__ == "__main__":
    main()
