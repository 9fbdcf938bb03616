"""The fuzz targets, bounded: what is kept in kept/, then new input for some seconds.

FUZZ_S: seconds for each (default 10). FUZZ_KEEP=1 adds what reaches new code to kept/.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris", reason="atheris has wheels for Linux on x86-64 alone")
HERE = Path(__file__).parent
SECONDS = int(os.environ.get("FUZZ_S", "10"))


def fuzz(target: str, new: Path, *options: str) -> subprocess.CompletedProcess[str]:
    kept = HERE / "kept" / target
    places = [str(kept)] if os.environ.get("FUZZ_KEEP") else [str(new), str(kept)]
    return subprocess.run(
        [sys.executable, str(HERE / f"fuzz_{target}.py"), *options, "-timeout=10",
         "-rss_limit_mb=2048", f"-artifact_prefix={new}/", *places],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=SECONDS + 60,
    )  # fmt: skip


@pytest.mark.parametrize("target", ["answer", "images"])
def test_the_fuzzer_finds_nothing(target: str, tmp_path: Path) -> None:
    ran = fuzz(target, tmp_path, f"-max_total_time={SECONDS}", "-max_len=2048")
    assert ran.returncode == 0, ran.stderr[-3000:]
    done = re.search(r"Done (\d+) runs", ran.stderr)
    assert done is not None
    assert int(done[1]) > len(list((HERE / "kept" / target).iterdir())) > 10
    print(f"{target}: {done[1]} runs in {SECONDS} s")
