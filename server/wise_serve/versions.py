"""The one version of server, client, image and manifests; the versions of installed packages.

A release edits `VERSION` alone and runs `make docs`, which writes it into the files that cannot
read it from here (docs/version_copies.py); tests/unit/project/test_version.py compares them.
"""

from importlib import metadata
from typing import Final

VERSION: Final = "0.1.0"


def package_version(*names: str) -> str:
    """Version of the first of these packages that is installed; 'none' if there is none. Imports
    none of them."""
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "none"
