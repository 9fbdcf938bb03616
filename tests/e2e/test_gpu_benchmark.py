"""benchmarks/gpu.py in its smallest size, on a CPU: that it runs, and that its masks are right."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import gpu
import gpu_page
from gpu_part import Options

SMALLEST = ("--small", "--device", "cpu", "--in-flight", "2", "--repeats", "1")


def figures_of(*flags: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, gpu.__file__, *SMALLEST, *flags],
        capture_output=True,
        text=True,
        timeout=400,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # threads that spin wait long on a busy machine
    )
    assert done.returncode == 0, done.stderr[-3000:]
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert figures["ended"] == {}, done.stderr[-3000:]
    return figures


@pytest.fixture(scope="module")
def reasoning() -> dict[str, Any]:
    """The part of the reasoner alone, with vLLM."""
    figures = figures_of("--parts", "reasoning")
    return {"reasoning": figures["reasoning"]}


def test_every_part_finds_its_figures(reasoning: dict[str, Any]) -> None:
    figures = figures_of("--no-vllm", "--parts", "segmenter", "server") | reasoning
    levers = figures["segmenter"]["levers"]
    assert set(levers) == {"nothing", "default", "bfloat16"}
    for found in levers.values():
        assert list(found["encode_ms_an_image"]) == ["1", "2", "4", "8", "16"]
        assert list(found["decode_ms_a_mask"]) == ["1", "2", "4", "8", "16"]
        assert list(found["one_point_ms_an_image"]) == ["1", "8"]
        assert found["mean_iou"] >= 0.9
    assert levers["nothing"]["least_iou"] >= 0.999
    assert figures["server"]["reasoner"].startswith("timed stand-in")
    assert figures["server"]["loaded"]["found"] == figures["server"]["loaded"]["requests"] == 4
    assert set(figures["reasoning"]["transformers"]) == {"wise-s, batch 1", "wise-s, batch 2"}
    page = gpu_page.page(figures)
    assert "needs vLLM in the server" in page  # a stand-in proves no ratio
    without = {**figures["reasoning"], "vllm": "not installed, or not wanted"}
    assert "not installed, or not wanted" in gpu_page.page({**figures, "reasoning": without})


def test_vllm_is_measured_where_it_is_installed(reasoning: dict[str, Any]) -> None:
    found = reasoning["reasoning"]["vllm"]
    assert set(found) == {"wise-s, 2 in flight"}
    assert found["wise-s, 2 in flight"]["requests_per_s"] > 0


def test_a_part_that_exceeds_its_time_is_stopped_and_keeps_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = tmp_path / "endless.py"
    endless.write_text(
        "import json, pathlib, sys, time\n"
        "options = json.loads(sys.argv[2])\n"
        "pathlib.Path(options['result']).write_text(json.dumps({'found': 1}))\n"
        "time.sleep(600)\n"
    )
    monkeypatch.setattr(gpu, "CHILD", endless)
    begun = time.monotonic()
    options = Options(
        device="cpu",
        small=True,
        compiled=False,
        repeats=1,
        in_flight=1,
        vllm=False,
        until=begun + 2,
        result=tmp_path / "result.json",
    )
    found, ended = gpu.run_part("segmenter", options)
    assert found == {"found": 1}
    assert "time was up" in ended
    assert time.monotonic() - begun < 2 + gpu.GRACE_S


def test_all_parts_together_stay_below_nine_minutes() -> None:
    assert sum(gpu.BUDGET_S.values()) + len(gpu.BUDGET_S) * gpu.GRACE_S < 9 * 60
