"""benchmarks/gpu.py in its smallest size, on a CPU: that it runs, and that its masks are right."""

import json
import os
import subprocess
import sys
from pathlib import Path

COMMAND = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


def test_the_gpu_benchmark_runs_in_its_smallest_size() -> None:
    done = subprocess.run(
        [
            sys.executable,
            str(COMMAND),
            *["--small", "--device", "cpu", "--requests", "2", "--repeats", "1"],
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # threads that spin wait long on a busy machine
    )
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    found = figures["segmenter"]
    assert found["worst_iou"] >= 0.999
    assert set(found["levers"]) == {
        *("nothing", "default", "bfloat16", "float16", "float16_decoder_too"),
    }
    for lever in found["levers"].values():
        assert list(lever["encode_ms_an_image"]) == ["1", "2", "4", "8", "16"]
        assert list(lever["decode_ms_a_mask"]) == ["1", "2", "4", "8", "16"]
        assert lever["mean_iou"] >= 0.9
    assert all(value > 0 for value in figures["reasoner"].values())
