"""What GRPO computes from rewards and log-probabilities, and its curves."""

from pathlib import Path

import numpy as np
import pytest
import torch

from wise.curves import compare_objectives, draw_curves, draw_objectives, read_table, smoothed
from wise.grpo import advantages, kl_penalty


def test_advantages_compare_within_a_prompt_alone() -> None:
    rewards = torch.tensor([[1.0, 3.0], [101.0, 103.0], [5.0, 5.0]])
    expected = torch.tensor([[-1.0, 1.0], [-1.0, 1.0], [0.0, 0.0]])
    assert torch.allclose(advantages(rewards), expected, atol=1e-3)


def test_the_kl_penalty_is_zero_at_the_reference_and_positive_elsewhere() -> None:
    reference = torch.tensor([-1.0, -2.0, -3.0])
    assert kl_penalty(reference, reference).abs().max() == 0
    assert (kl_penalty(reference + torch.tensor([0.5, -0.5, 2.0]), reference) > 0).all()


def test_the_kl_penalty_is_unbiased() -> None:
    """Its mean over samples of the policy is the divergence."""
    policy, reference = torch.tensor([0.7, 0.2, 0.1]).log(), torch.tensor([0.3, 0.3, 0.4]).log()
    divergence = (policy.exp() * (policy - reference)).sum()
    assert (policy.exp() * kl_penalty(policy, reference)).sum() == pytest.approx(divergence)


def test_means_are_over_the_last_steps() -> None:
    assert smoothed(np.array([1.0, 3.0, 5.0]), width=2).tolist() == [1.0, 2.0, 4.0]


def test_curves_are_drawn_from_the_table(tmp_path: Path) -> None:
    table = tmp_path / "training.csv"
    table.write_text("step,a,b\n0,1,2\n1,3,4\n")
    assert read_table(table)["b"].tolist() == [2.0, 4.0]
    draw_curves(table, tmp_path / "curves.png", (("both", ("a", "b")), ("one", ("a",))))
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_runs_are_compared_by_their_first_and_last_steps(tmp_path: Path) -> None:
    table = tmp_path / "training.csv"
    rows = "\n".join(f"{step},{tokens},0.5,0.25,12" for step, tokens in enumerate((50, 40, 31, 30)))
    table.write_text(f"step,tokens_before_answer,correct,distillation,seconds\n{rows}\n")
    *_, line = compare_objectives({"WISE": table}, width=2).splitlines()
    assert line == "| WISE | 4 | 45.0, 30.5 | 50%, 50% | 0.25, 0.25 | 12 |"


def test_runs_are_compared_in_one_picture(tmp_path: Path) -> None:
    tables = {}
    for name, tokens in (("accuracy", 50), ("distillation", 30)):
        tables[name] = tmp_path / f"{name}.csv"
        rows = "".join(f"{step},{tokens},0.5\n" for step in range(3))
        tables[name].write_text(f"step,tokens_before_answer,correct\n{rows}")
    draw_objectives(tables, tmp_path / "runs.png")
    assert (tmp_path / "runs.png").read_bytes().startswith(b"\x89PNG")
