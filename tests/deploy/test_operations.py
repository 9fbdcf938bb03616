"""docs/operations.md: the table of settings is current, the arithmetic is right."""

import re

import pytest

import settings_table
from wise_serve.cli.flags import flag_of
from wise_serve.settings import Settings

PAGE = settings_table.PAGE.read_text()
WEIGHTS_GB = {"bf16": 15.2 + 1.4, "FP8": 7.6 + 1.4}
ENGINE_WORKING_GB, SEGMENTER_GB, REQUEST_GB = 2.0, 0.9 + 3.0, 0.07
ROW = re.compile(r"\| (\d+) GB \| 7B (\w+) \| ([\d.]+) \| ([\d.]+) GB \| ([\d.]+) GB \| (\d+) \|")


def test_the_settings_table_is_current() -> None:
    assert settings_table.current(PAGE) == PAGE, "run `make docs`"
    for name in Settings.model_fields:
        assert f"| `{flag_of(name)}` |" in PAGE


def test_sizing_covers_both_precisions_on_four_gpus() -> None:
    assert [(row[0], row[1]) for row in ROW.findall(PAGE)] == [
        (size, kind) for size in ("24", "48", "80", "140") for kind in ("bf16", "FP8")
    ]
    assert "not measured" in PAGE


@pytest.mark.parametrize("row", ROW.findall(PAGE), ids=lambda row: f"{row[0]} GB {row[1]}")
def test_sizing_adds_up(row: tuple[str, ...]) -> None:
    total, share, engine, cache, at_once = (float(row[index]) for index in (0, 2, 3, 4, 5))
    assert engine == pytest.approx(total * share, abs=0.06)
    assert cache == pytest.approx(total * share - WEIGHTS_GB[row[1]] - ENGINE_WORKING_GB, abs=0.06)
    assert at_once == pytest.approx(cache / REQUEST_GB, abs=1.1)
    assert total * (1 - share) >= SEGMENTER_GB


def test_every_flag_that_is_named_exists() -> None:
    known = {flag_of(name) for name in Settings.model_fields} | {"--json", "--profile"}
    others = {"--no-index", "--find-links"}  # of pip
    soak = (settings_table.PAGE.parents[1] / "benchmarks" / "soak.py").read_text()
    others |= set(re.findall(r'add_argument\("(--[a-z-]+)"', soak))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)) <= known | others
