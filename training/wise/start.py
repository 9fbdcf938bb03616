"""Train the starting point of WISE in miniature: `python -m wise.start --help`.

The packaged reasoner is retrained to think long under both prompts of WISE. No concise rationale is
shown to it. With --fresh it keeps only what its first stage trained on images alone (vision tower,
embeddings, first two text layers); the other weights have then never seen a short rationale, and
need ten times as many steps. Resumes when called again.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from tokenizers import Tokenizer
from torch.utils.data import DataLoader
from tqdm import tqdm

from miniature.export_reasoner import export
from miniature.queries import Query, make_query
from miniature.rationales import Response
from miniature.reasoner_data import Examples, TrainingBatch
from miniature.reasoner_forward import forward, vision_rotary
from miniature.reasoner_loss import Loss, number_ids
from miniature.reasoner_model import PLACE_LAYER, make_config, make_model
from miniature.scenes import Scene
from miniature.tokenizer import build_tokenizer, special_token_ids
from miniature.train_reasoner import exported_weights, score
from wise.rationales import long_response
from wise_serve.miniature import REASONER_FOLDER
from wise_serve.miniature import REASONER_IMAGE_SIZE as IMAGE_SIZE

FAMILIES = ("attribute", "extremum", "relation", "likeness")  # a reward needs a box
HELD_OUT_SEED = 910_001
EXPLAINED = " explained"  # marks a strategy's turns that go on to the detailed rationale
EXPLAINED_SHARE = 0.5  # of the batches; the others end with the answer, and are quicker


class LongExamples(Examples):
    """Turns under the prompts of `wise` and `wise-s`; "short" ones end with the answer."""

    turn_lengths: ClassVar[dict[bool, int]] = {True: 120, False: 192}

    def __init__(self, tokenizer: Tokenizer, seed: int, images: int) -> None:
        super().__init__(tokenizer, seed, images, short_share=1 - EXPLAINED_SHARE)
        for name in ("wise", "wise-s"):
            self.templates[name + EXPLAINED] = self.templates[name]
            self.strips[name + EXPLAINED] = self.strips[name]

    def draw_query(self, scene: Scene, rng: np.random.Generator, short: bool) -> tuple[Query, str]:
        """Draw a query about the scene; the strategy's name says whether it is explained."""
        strategy = ("wise", "wise-s")[int(rng.integers(2))] + ("" if short else EXPLAINED)
        while True:
            family = FAMILIES[int(rng.integers(len(FAMILIES)))]
            for _ in range(6):
                if (query := make_query(scene, rng, family)) is not None:
                    return query, strategy

    def write(
        self, strategy: str, scene: Scene, query: Query, rng: np.random.Generator
    ) -> Response:
        """The text that the assistant learns to write."""
        explained = strategy.endswith(EXPLAINED)
        return long_response(scene, query, IMAGE_SIZE, rng, explained=explained)

    def decision(self, answer: list[int], strategy: str, scene: Scene, query: Query) -> int:
        """Index of the token that decides between an object and none: the first one."""
        return 0  # its scenes always have the object


def new_model(tokenizer: Tokenizer, folder: Path, fresh: bool) -> Any:
    """The model of a folder; if `fresh`, only what its first stage trained, the rest random."""
    config = make_config(special_token_ids(tokenizer), tokenizer.get_vocab_size())
    model = make_model(config, number_ids(tokenizer))
    layers = (f"model.language_model.layers.{layer}." for layer in range(PLACE_LAYER + 1))
    first_stage = ("model.visual.", "model.language_model.embed_tokens.", *layers)
    exported = exported_weights(folder)
    kept = {n: w for n, w in exported.items() if not fresh or n.startswith(first_stage)}
    model.load_state_dict(kept, strict=not fresh)
    return model


class Start:
    """Model, optimiser and checkpoints of one run in `out`."""

    def __init__(self, args: argparse.Namespace) -> None:
        torch.manual_seed(args.seed)
        self.args, self.step = args, 0
        self.tokenizer = build_tokenizer()
        self.loss = Loss(number_ids(self.tokenizer), self.tokenizer.get_vocab_size())
        self.model = new_model(self.tokenizer, args.reasoner, args.fresh)
        self.rotary = vision_rotary(self.model)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=args.learning_rate, betas=(0.9, 0.98), fused=True
        )
        self.checkpoint = Path(args.out) / "checkpoint.pt"
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]

    def batches(self) -> Iterator[TrainingBatch]:
        """An endless stream of batches, drawn in a process of its own."""
        examples = LongExamples(self.tokenizer, self.args.seed * 100_000 + self.step, 16)
        return iter(DataLoader(examples, batch_size=None, num_workers=1, prefetch_factor=6))

    def save(self) -> None:
        """Write the checkpoint and then rename it, so that a kill leaves a whole file."""
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        partial = self.checkpoint.with_suffix(".partial")
        state = {
            "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }  # fmt: skip
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def learning_rate(self) -> float:
        """A linear warm-up, then a cosine to a fiftieth."""
        warm = 50
        if self.step < warm:
            return float(self.args.learning_rate) * (self.step + 1) / warm
        part = min(1.0, (self.step - warm) / max(1, self.args.steps - warm))
        return float(self.args.learning_rate) * (0.51 + 0.49 * math.cos(math.pi * part))

    def compute(self, data: TrainingBatch) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """The losses by name, and the logits where a label is."""
        with torch.autocast("cpu", torch.bfloat16):
            out = forward(self.model, data.batch, self.rotary)
            text, logits = self.loss.text(self.model, out.hidden, data)
        return {"text": text, "looking": self.loss.looking(out, data)}, logits

    def train_step(self, data: TrainingBatch) -> dict[str, float]:
        """Train on one batch; returns the losses by name."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        parts, _ = self.compute(data)
        self.optimizer.zero_grad(set_to_none=True)
        (parts["text"] + parts["looking"]).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return {name: float(value.detach()) for name, value in parts.items()}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Teacher-forced, on 16 held-out scenes: whether the things named are right."""
        examples = LongExamples(self.tokenizer, HELD_OUT_SEED, 16)
        rng = np.random.default_rng(HELD_OUT_SEED)
        data = examples.collate([examples.example(rng, True) for _ in range(16)])
        found = score(data, self.compute(data)[1], self.loss.value_of, drawn_wordings=True)
        return {name: round(float(np.mean(values)), 3) for name, values in sorted(found.items())}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--reasoner", type=Path, default=REASONER_FOLDER, help="what it begins with (packaged)"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="keep only what the first stage trained"
    )
    parser.add_argument("--steps", type=int, default=600, help="of 16 images, five queries each")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default="runs/wise/start", help="folder of checkpoint and log")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    run = Start(args)
    loader = run.batches()
    log = Path(args.out) / "log.jsonl"
    log.parent.mkdir(parents=True, exist_ok=True)
    recent: list[dict[str, float]] = []
    for _ in tqdm(range(run.step, args.steps), initial=run.step, total=args.steps, mininterval=10):
        recent.append(run.train_step(next(loader)))
        if run.step % 50 == 0 or run.step == args.steps:
            means = {n: round(float(np.mean([r[n] for r in recent])), 4) for n in recent[0]}
            recent.clear()
            if run.step % 50 == 0:
                run.save()
                means |= run.evaluate()
            line = {"step": run.step, "time_s": round(time.time()), **means}
            with log.open("a") as file:
                file.write(json.dumps(line) + "\n")
            tqdm.write(json.dumps(line))
    run.save()
    export(run.model.state_dict(), Path(args.out) / "model")


if __name__ == "__main__":
    main()
