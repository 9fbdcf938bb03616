"""benchmarks/rehearsal.py in its small form: the published form of checkpoints, without weights."""

import json
import subprocess
import sys
from pathlib import Path

COMMAND = Path(__file__).parents[2] / "benchmarks" / "rehearsal.py"
FINDINGS = 15


def test_checkpoints_in_the_published_form_are_served_as_they_must_be() -> None:
    done = subprocess.run(
        [sys.executable, str(COMMAND), "--small"], capture_output=True, text=True, timeout=300
    )
    assert done.stdout, done.stderr[-3000:]
    findings = json.loads(done.stdout.splitlines()[-1])["findings"]
    assert [finding for finding in findings if not finding["ok"]] == []
    assert len(findings) == FINDINGS
    assert done.returncode == 0
