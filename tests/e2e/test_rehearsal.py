"""benchmarks/rehearsal.py in its small form: the published form of checkpoints, without weights."""

import json
import signal
import subprocess
import sys
from pathlib import Path

COMMAND = Path(__file__).parents[2] / "benchmarks" / "rehearsal.py"
FINDINGS = 15
WITHIN_S = 300


def test_checkpoints_in_the_published_form_are_served_as_they_must_be() -> None:
    command = subprocess.Popen(
        [sys.executable, str(COMMAND), "--small"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        output, errors = command.communicate(timeout=WITHIN_S)
    finally:
        if command.poll() is None:
            command.send_signal(signal.SIGINT)  # not SIGKILL: it must end the server it started
            command.communicate()
    assert output, errors[-3000:]
    findings = json.loads(output.splitlines()[-1])["findings"]
    assert [finding for finding in findings if not finding["ok"]] == []
    assert len(findings) == FINDINGS
    assert command.returncode == 0
