"""benchmarks/gpu.py in its smallest size, on a CPU: that it runs, and that its masks are right."""

import json
import subprocess
import sys
from pathlib import Path

COMMAND = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


def test_it_runs_in_its_smallest_size() -> None:
    done = subprocess.run(
        [
            sys.executable,
            str(COMMAND),
            *["--small", "--device", "cpu", "--requests", "2", "--repeats", "1"],
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["segmenter"]["worst_iou"] >= 0.999
    assert set(figures["segmenter"]["ms_an_image"]) == {
        *("predictor", "batch_1", "batch_2", "batch_4", "batch_8", "batch_16"),
    }
    assert all(value > 0 for value in figures["reasoner"].values())
