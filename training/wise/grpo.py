"""Train a miniature to think short, with WISE's rewards: `python -m wise.grpo --help`.

GRPO (arXiv 2402.03300) samples several responses per prompt from the policy and rewards them. A
response becomes more likely if its reward is above the mean of its prompt, and less likely if it is
below. A KL penalty keeps the policy near the starting point. There is one gradient step per batch.
Every batch depends only on the seed and the step's number, so a run that was stopped continues as
if it had not stopped.
"""

import argparse
import copy
import csv
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from miniature.export_reasoner import export
from miniature.reasoner_forward import forward, vision_rotary
from miniature.reasoner_loss import number_ids
from miniature.reasoner_model import make_config, make_model
from miniature.tokenizer import build_tokenizer, special_token_ids
from wise.curves import draw_curves
from wise.embeddings import SentenceEmbeddings
from wise.episodes import Prompter, Prompts
from wise.rewards import CORRECT_IOU, Rewards, Similarity
from wise.sampler import Sampler, Samples

SAVE_EVERY = 5  # steps
PROMPTS_AT_ONCE = 2  # whose gradients are computed together: less memory, the same sum
OBJECTIVES = ("accuracy", "distillation", "detailed-first")


@dataclass(frozen=True)
class Plan:
    """The numbers of a run: those published for the 7B model but for the learning rate. That one
    is 1e-6; a miniature needs a larger one."""

    objective: str = "distillation"
    steps: int = 125  # steps of 16 prompts: one pass over 2,000 prompts
    prompts: int = 16
    samples: int = 8
    temperature: float = 1.0
    learning_rate: float = 1e-4
    kl_coefficient: float = 5e-3
    seed: int = 1


def advantages(rewards: Tensor) -> Tensor:
    """prompts x samples: each reward's distance from its prompt's mean, in standard deviations."""
    deviation = rewards.std(dim=1, keepdim=True, correction=0)
    return (rewards - rewards.mean(dim=1, keepdim=True)) / (deviation + 1e-4)


def kl_penalty(log_p: Tensor, reference: Tensor) -> Tensor:
    """Estimate of the KL divergence to the reference at sampled tokens: never negative, and 0 where
    both agree (the "k3" estimator of J. Schulman's "Approximating KL divergence")."""
    ratio = reference - log_p
    return ratio.exp() - ratio - 1


class Policy:
    """The model in training, the starting point (reference), and the run's files in `out`."""

    def __init__(self, plan: Plan, start: Path, out: Path, sampler: Sampler) -> None:
        self.plan, self.out, self.sampler, self.step = plan, out, sampler, 0
        tokenizer = build_tokenizer()
        self.prompter = Prompter(tokenizer)
        config = make_config(special_token_ids(tokenizer), tokenizer.get_vocab_size())
        self.model = make_model(config, number_ids(tokenizer))
        self.model.load_state_dict(torch.load(start, weights_only=True)["model"])
        self.reference = copy.deepcopy(self.model).requires_grad_(False)
        self.rotary = vision_rotary(self.model)
        # The vision tower is not trained, as in the paper.
        self.model.model.visual.requires_grad_(False)
        self.weights = [w for w in self.model.parameters() if w.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.weights, lr=plan.learning_rate, betas=(0.9, 0.99), weight_decay=0.0
        )
        self.similarity: Similarity | None = None
        if plan.objective != "accuracy":
            self.similarity = SentenceEmbeddings().similarity
        self._resume()

    def _resume(self) -> None:
        if not self.checkpoint.exists():
            self.table.unlink(missing_ok=True)
            return
        state = torch.load(self.checkpoint, weights_only=True)
        if state["plan"] != asdict(self.plan) | {"steps": state["plan"]["steps"]}:
            raise SystemExit(f"{self.checkpoint} is of another plan: {state['plan']}")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        rows = self.table.read_text().splitlines(keepends=True)
        self.table.write_text("".join(rows[: self.step + 1]))  # later steps are computed again

    @property
    def checkpoint(self) -> Path:
        """The file of the model and the optimiser."""
        return self.out / "checkpoint.pt"

    @property
    def table(self) -> Path:
        """The file of the figures, one row per step."""
        return self.out / "training.csv"

    def save(self) -> None:
        """Write the checkpoint and then rename it, so that a kill leaves a whole file."""
        partial = self.checkpoint.with_suffix(".partial")
        state = {
            "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
            "step": self.step, "plan": asdict(self.plan),
        }  # fmt: skip
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def train_step(self) -> dict[str, float]:
        """Sample, reward, one gradient step; returns what the table keeps."""
        plan, began = self.plan, time.perf_counter()
        prompts = self.prompter.draw(
            np.random.default_rng([plan.seed, self.step]), plan.prompts, plan.samples
        )
        self.sampler.update(self.model.state_dict())
        samples = self.sampler.sample(prompts, plan.temperature, (plan.seed, self.step))
        sampling_s = time.perf_counter() - began
        rewards, row = self._reward(prompts, samples)
        kl = self._update(prompts, samples, advantages(rewards))
        self.step += 1
        seconds = {"sampling_s": sampling_s, "seconds": time.perf_counter() - began}
        return row | {"kl": kl} | seconds

    def _reward(self, prompts: Prompts, samples: Samples) -> tuple[Tensor, dict[str, float]]:
        totals = torch.zeros(samples.complete.shape)
        each: list[Rewards] = []
        lengths: list[tuple[int, int]] = []
        for b, r in np.ndindex(*totals.shape):
            text = self.prompter.text(samples.tokens[b, r][samples.sampled[b, r]].tolist())
            rewards, tokens = self.prompter.judge(
                text, prompts.truths[b], self.similarity, self.plan.objective == "detailed-first"
            )
            totals[b, r] = rewards.total
            each.append(rewards)
            lengths += [tokens] if all(tokens) else []
        first, second = np.mean(lengths, axis=0) if lengths else (0.0, 0.0)
        row = {"step": float(self.step), "reward": float(totals.mean())}
        row |= {name: float(np.mean([getattr(r, name) for r in each])) for name in asdict(each[0])}
        row |= {
            "correct": float(np.mean([r.iou > CORRECT_IOU for r in each])),
            "tokens_before_answer": float(first), "tokens_after_answer": float(second),
            "complete": float(samples.complete.float().mean()),
        }  # fmt: skip
        return totals, row

    def log_p(self, model: Any, prompts: Prompts, samples: Samples) -> Tensor:
        """Log-probabilities of the sampled tokens, in the order of `samples.sampled`'s places."""
        length = int(samples.sampled.flatten(0, 1).any(0).nonzero().max()) + 1
        tokens, sampled = samples.tokens[..., :length], samples.sampled[..., 1:length]
        batch = replace(prompts.batch, turns=tokens[..., :-1])
        with torch.autocast("cpu", torch.bfloat16):
            hidden = forward(model, batch, self.rotary).hidden[sampled]
            logits = model.lm_head(hidden).float()
        chosen = tokens[..., 1:][sampled][:, None]
        log_p: Tensor = logits.log_softmax(-1).gather(1, chosen)[:, 0]
        return log_p

    def _update(self, prompts: Prompts, samples: Samples, wanted: Tensor) -> float:
        """One gradient step; returns the mean KL penalty of a token."""
        self.optimizer.zero_grad(set_to_none=True)
        total, kl_sum = int(samples.sampled.sum()), 0.0
        for first in range(0, len(wanted), PROMPTS_AT_ONCE):
            part = slice(first, first + PROMPTS_AT_ONCE)
            loss, kl = self._loss(prompts.part(part), samples.part(part), wanted[part])
            (loss / total).backward()  # type: ignore[no-untyped-call]
            kl_sum += kl
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        return kl_sum / total

    def _loss(self, prompts: Prompts, samples: Samples, wanted: Tensor) -> tuple[Tensor, float]:
        """The loss and the KL penalty, sums over the sampled tokens."""
        with torch.no_grad():
            reference = self.log_p(self.reference, prompts, samples)
        log_p = self.log_p(self.model, prompts, samples)
        weight = wanted[..., None].expand_as(samples.sampled)[samples.sampled]
        # Sampled from this very policy: the ratio is 1, and its gradient is log_p's.
        ratio = (log_p - log_p.detach()).exp()
        kl = kl_penalty(log_p, reference)
        return (self.plan.kl_coefficient * kl - ratio * weight).sum(), float(kl.detach().sum())

    def train(self) -> None:
        """Train up to the plan's last step; then write the curves and a folder for the server."""
        self.out.mkdir(parents=True, exist_ok=True)
        steps = range(self.step, self.plan.steps)
        bar = tqdm(steps, initial=self.step, total=self.plan.steps, unit="step")
        for _ in bar:
            row = self.train_step()
            fresh = not self.table.exists()
            with self.table.open("a", newline="") as file:
                writer = csv.DictWriter(file, row)
                if fresh:
                    writer.writeheader()
                writer.writerow({name: round(value, 5) for name, value in row.items()})
            bar.set_postfix_str(
                f"reward {row['reward']:.2f}, {row['tokens_before_answer']:.0f} tokens"
            )
            if self.step % SAVE_EVERY == 0 or self.step == self.plan.steps:
                self.save()
        draw_curves(self.table, self.out / "curves.png")
        export(self.model.state_dict(), self.out / "model")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    plan = Plan()
    parser.add_argument("--objective", choices=OBJECTIVES, default=plan.objective)
    parser.add_argument("--steps", type=int, default=plan.steps)
    parser.add_argument("--prompts", type=int, default=plan.prompts, help="a batch")
    parser.add_argument("--samples", type=int, default=plan.samples, help="a prompt")
    parser.add_argument("--learning-rate", type=float, default=plan.learning_rate)
    parser.add_argument("--seed", type=int, default=plan.seed)
    parser.add_argument("--threads", type=int, default=1, help="of sampling and training")
    parser.add_argument("--start", type=Path, default=Path("runs/wise/start/checkpoint.pt"))
    parser.add_argument("--out", type=Path, help="default: runs/wise/OBJECTIVE")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    plan = Plan(
        objective=args.objective, steps=args.steps, prompts=args.prompts, samples=args.samples,
        learning_rate=args.learning_rate, seed=args.seed,
    )  # fmt: skip
    sampler = Sampler(plan.prompts * plan.samples)
    Policy(plan, args.start, args.out or Path("runs/wise") / args.objective, sampler).train()


if __name__ == "__main__":
    main()
