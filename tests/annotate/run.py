"""Run by `make annotate-test`: a real wise-serve, and each tool's tests in its own environment.

python tests/annotate/run.py .venv-annotate-label-studio=check_label_studio.py ...
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from running import running_server

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
IMPORTED = ("clients/python/src", "benchmarks", "tests/annotate")
EXAMPLE = ROOT / "server" / "wise_serve" / "playground" / "example.jpg"
_PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--noconftest", "-c", os.devnull)


def main() -> int:
    failed = 0
    with running_server() as server, tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "WISE_URL": server.url,
            "WISE_EXAMPLE": str(EXAMPLE),
            "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in IMPORTED),
        }
        for word in sys.argv[1:]:
            place, _, check = word.partition("=")
            python = (ROOT / place / "bin" / "python").absolute()
            words: list[str | Path] = [python, *_PYTEST, "--rootdir", folder, HERE / check]
            print(f"{check}:", flush=True)
            failed |= subprocess.run(words, env=environment, cwd=folder, check=False).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
