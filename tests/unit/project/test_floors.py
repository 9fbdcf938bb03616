"""No package is older than the version that fixes its vulnerabilities: docs/security.md."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[3]
FLOORS = {"pillow": "13.0.0", "starlette": "1.3.0", "python-multipart": "0.0.26"}


@pytest.mark.parametrize("name", FLOORS)
def test_installed_packages_meet_their_security_floors(name: str) -> None:
    pinned = re.search(rf"^{name}==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert pinned is not None
    assert Version(pinned[1]) >= Version(FLOORS[name])


@pytest.mark.parametrize("name", FLOORS)
def test_the_dependencies_of_the_cpu_stack_exclude_versions_below_the_floors(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [asked] = [one for one in map(Requirement, project["dependencies"]) if one.name == name]
    [bound] = [one for one in asked.specifier if one.operator == ">="]
    assert Version(bound.version) >= Version(FLOORS[name])


def test_the_dependencies_of_the_gpu_stack_exclude_versions_below_the_floors() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    [engine] = [one for one in map(Requirement, extras["gpu"]) if one.name == "vllm"]
    assert str(engine.specifier) == ">=0.33.0"
