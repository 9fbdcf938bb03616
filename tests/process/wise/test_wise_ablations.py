"""Which checkpoints and training curves the page of WISE in miniature shows."""

from pathlib import Path

import pytest

from wise_ablations import CHECKPOINTS, present, training_tables

TRAINED = [row for row in CHECKPOINTS if row.name != "start"]


@pytest.mark.parametrize("absent", [None, *CHECKPOINTS], ids=lambda row: row and row.name)
def test_a_missing_checkpoint_takes_no_curve_of_another_with_it(
    tmp_path: Path, absent: object
) -> None:
    for row in CHECKPOINTS:
        if row is not absent:
            (tmp_path / row.folder / "model").mkdir(parents=True)
    there = present(tmp_path)
    assert there == [row for row in CHECKPOINTS if row is not absent]
    shown = {row.name: tmp_path / row.folder / "training.csv" for row in TRAINED}
    if absent in TRAINED:
        del shown[absent.name]
    assert training_tables(tmp_path, there) == shown
