"""The Kubernetes manifests as they are read from deploy/kubernetes."""

from pathlib import Path
from typing import Any, Final

import yaml

FOLDER: Final = Path(__file__).parents[1] / "deploy" / "kubernetes"
Manifest = dict[str, Any]


def read(path: Path) -> Manifest:
    manifest: Manifest = yaml.safe_load(path.read_text())
    return manifest


def kustomization(name: str) -> Manifest:
    return read(FOLDER / name / "kustomization.yaml")


def base() -> dict[str, Manifest]:
    """By kind; one of each."""
    found = [read(FOLDER / "base" / name) for name in kustomization("base")["resources"]]
    assert len({item["kind"] for item in found}) == len(found)
    return {item["kind"]: item for item in found}
