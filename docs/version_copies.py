"""Writes the version into the files that cannot read it from the server: `make docs`.

The server's `VERSION` (server/wise_serve/versions.py) is the one that a release edits.
"""

import re
import sys
from pathlib import Path
from typing import Final

from wise_serve.versions import VERSION

ROOT: Final = Path(__file__).parents[1]
_NUMBER: Final = r"\d+\.\d+\.\d+"
# File: what stands before the version there.
COPIES: Final = {
    "clients/python/src/wise_client/version.py": '__version__ = "',
    "Dockerfile": 'org.opencontainers.image.version="',
    "docker-compose.yml": "image: wise-serve:",
    "deploy/kubernetes/base/deployment.yaml": "image: wise-serve:",
    "deploy/kubernetes/gpu/deployment.yaml": "image: wise-serve:",
    "deploy/ray/rayservice.yaml": "wise-serve:",
}


def with_version(text: str, before: str, version: str = VERSION) -> str:
    """The text with every version after `before` replaced. Raises ValueError if there is none."""
    fresh, count = re.subn(f"(?<={re.escape(before)}){_NUMBER}", version, text)
    if not count:
        raise ValueError(f"no version after '{before}'")
    return fresh


def main() -> int:
    """Write the copies; returns the exit status."""
    for name, before in COPIES.items():
        path = ROOT / name
        path.write_text(with_version(path.read_text(encoding="utf-8"), before), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
