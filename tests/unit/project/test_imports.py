"""The gateway and its fast tests must not import the models' packages."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parents[2]
LIGHT: Final = ("wise_serve.http.app", "wise_serve.server.serving", "wise_serve.cli.main")


@pytest.mark.parametrize("module", LIGHT)
def test_the_gateway_imports_neither_torch_nor_vllm(module: str) -> None:
    code = (
        f"import sys, {module}; "
        "print(sorted({'torch', 'vllm', 'sam2', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def imported_by(path: Path, seen: set[Path]) -> set[str]:
    """The packages that a test module imports at its top, by way of the helpers in tests/, too."""
    seen.add(path)
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    helpers = {TESTS / f"{name}.py" for name in names} - seen
    return names.union(*(imported_by(one, seen) for one in helpers if one.exists()))


@pytest.mark.parametrize("folder", ["unit", "http", "sdk"])
def test_fast_tests_import_no_model_library(folder: str) -> None:
    for path in sorted((TESTS / folder).rglob("test_*.py")):
        imported = imported_by(path, set())
        packages = {name.partition(".")[0] for name in imported}
        assert not packages & {"torch", "transformers", "vllm", "sam2"}, path
        assert "safetensors.torch" not in imported, path
