"""podman, as the image tests call it."""

import subprocess
import time
import urllib.error
import urllib.request
from typing import Final

COMMAND_DEADLINE_S: Final = 180.0
READY_WITHIN_S: Final = 300.0


def podman(*arguments: str, fails: bool = False) -> str:
    """What the command printed. Raises AssertionError if it fails, or with `fails`, if it works."""
    done = subprocess.run(
        ["podman", *arguments],
        capture_output=True,
        text=True,
        timeout=COMMAND_DEADLINE_S,
        check=False,
    )
    assert (done.returncode != 0) is fails, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def wait_ready(url: str, container: str) -> None:
    """Raises AssertionError with the container's log if it is not ready in time, or has ended."""
    give_up = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < give_up:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
        if podman("inspect", container, "--format", "{{.State.Status}}") != "running":
            break
    done = subprocess.run(
        ["podman", "logs", "--tail", "60", container], capture_output=True, text=True, check=False
    )
    raise AssertionError(f"not ready: {done.stdout}{done.stderr}")
