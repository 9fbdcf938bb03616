"""The package as users install it: its types, its wheel, its dependencies."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import typed_example
from scripted import ScriptedServer

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients" / "python"


def python(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        env={**os.environ, **environment},
        cwd=PACKAGE,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_typed_example_runs(server: ScriptedServer, photo: Path) -> None:
    told = typed_example.everything(server.url, photo)
    assert told[0] == "bright"
    assert any("missing.jpg" in line for line in told)


@pytest.mark.slow
def test_the_typed_example_and_the_package_are_strictly_typed(tmp_path: Path) -> None:
    example = str(Path(typed_example.__file__))
    words = ("-m", "mypy", "--strict", "--config-file", "pyproject.toml", "--cache-dir")
    done = python(*words, str(tmp_path), "-p", "wise_client", MYPYPATH="src")
    assert done.returncode == 0, done.stdout
    done = python(*words, str(tmp_path), example, MYPYPATH="src")
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_wheel_runs_without_the_server_and_without_torch(tmp_path: Path) -> None:
    built = python("-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("wise_client-*.whl")
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
        metadata = content.read(next(name for name in names if name.endswith("/METADATA"))).decode()
        scripts = next(name for name in names if name.endswith("/entry_points.txt"))
        assert "wise-segment = wise_client.cli.main:main" in content.read(scripts).decode()
    assert "wise_client/py.typed" in names
    assert "wise_client/eval/page.html.jinja" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"wise_client"}
    assert "Requires-Python: >=3.10" in metadata
    for foreign in ("torch", "vllm", "fastapi", "wise-serve"):
        assert f"Requires-Dist: {foreign}" not in metadata
    # Imported from the wheel itself, with everything that is not declared made to fail.
    code = """
import sys
for name in ("torch", "vllm", "sam2", "fastapi", "starlette", "pydantic", "wise_serve", "cv2",
             "jinja2", "matplotlib", "pyarrow"):
    sys.modules[name] = None
import wise_client
from wise_client.cli.main import main
print(wise_client.__file__, wise_client.__version__)
main(["--version"])
"""
    ran = python("-c", code, PYTHONPATH=str(wheel))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(str(wheel))
    assert ran.stdout.endswith("wise-client 0.1.0\n")


def test_importing_brings_nothing_heavy() -> None:
    heavy = ("torch", "cv2", "supervision", "scipy", "jinja2", "matplotlib", "pyarrow")
    code = f"import sys, wise_client.cli.evaluate; print([n for n in {heavy} if n in sys.modules])"
    done = python("-c", code, PYTHONPATH="src")
    assert done.stdout == "[]\n", done.stderr
