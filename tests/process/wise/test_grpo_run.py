"""A run that is stopped and called again ends as one that was not."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText

from miniature.train_reasoner import exported_weights
from wise.curves import read_table
from wise.grpo import Plan, Policy
from wise.sampler import Sampler
from wise_serve.miniature import REASONER_FOLDER

PLAN = Plan(objective="accuracy", steps=3, prompts=2, samples=2, learning_rate=1e-4)


@pytest.fixture
def start(tmp_path: Path) -> Path:
    path = tmp_path / "start.pt"
    torch.save({"model": exported_weights(REASONER_FOLDER)}, path)
    return path


def in_a_new_process(*arguments: str) -> None:
    """Run the command with the plan's other numbers; its engine has seen nothing before."""
    plan = ("--objective", PLAN.objective, "--prompts", str(PLAN.prompts))
    subprocess.run(
        [sys.executable, "-m", "wise.grpo", *plan, "--samples", str(PLAN.samples), *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, check=True, timeout=300,
    )  # fmt: skip


def test_a_stopped_run_continues_as_if_it_had_not_been(
    tmp_path: Path, start: Path, sampler: Sampler
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    Policy(PLAN, start, whole, sampler).train()
    Policy(replace(PLAN, steps=1), start, parts, sampler).train()
    with (parts / "training.csv").open("a") as file:
        file.write("1," * 15 + "1\n")  # a step after the last checkpoint
    in_a_new_process("--start", str(start), "--out", str(parts), "--steps", str(PLAN.steps))
    one, two = (read_table(folder / "training.csv") for folder in (whole, parts))
    assert one["step"].tolist() == two["step"].tolist() == [0, 1, 2]
    for name in one.keys() - {"seconds", "sampling_s"}:
        assert one[name].tolist() == two[name].tolist(), name
    served = AutoModelForImageTextToText.from_pretrained(parts / "model", dtype=torch.float32)
    trained = torch.load(parts / "checkpoint.pt", weights_only=True)["model"]
    before = exported_weights(REASONER_FOLDER)
    key = "model.language_model.layers.5.mlp.down_proj.weight"
    assert not torch.equal(trained[key], before[key])
    assert torch.allclose(served.state_dict()[key], trained[key], atol=1e-3)


def test_a_checkpoint_of_another_plan_is_refused(
    tmp_path: Path, start: Path, sampler: Sampler
) -> None:
    Policy(replace(PLAN, steps=1), start, tmp_path / "run", sampler).train()
    with pytest.raises(SystemExit, match="another plan"):
        Policy(replace(PLAN, seed=2), start, tmp_path / "run", sampler)
