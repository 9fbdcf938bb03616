"""Missing system libraries are named, with the Debian package that brings them."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from wise_serve.preflight import native
from wise_serve.preflight.checks import Machine
from wise_serve.reasoner.strategies import STRATEGIES
from wise_serve.settings import Settings

NUMA = "libnuma.so.1: cannot open shared object file: No such file or directory"
MACHINE = Machine(Settings(), STRATEGIES, [], "no GPU", None, None)


def test_an_import_that_lacks_a_library_names_it_and_its_debian_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(native, "ENGINE", f"raise ImportError({NUMA!r})")
    found = native.native_libraries(MACHINE)
    assert found.outcome == "failure"
    assert "libnuma.so.1" in found.found
    assert "engine" in found.found
    assert "apt-get install libnuma1" in found.advice


def test_a_library_that_vllm_only_logs_as_missing_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logged = f"WARNING Failed to import from vllm._C: {ImportError(NUMA)!r}"
    code = f"import sys; sys.stderr.write({logged!r})"
    monkeypatch.setattr(native, "ENGINE", code)
    found = native.native_libraries(MACHINE)
    assert found.outcome == "failure"
    assert "apt-get install libnuma1" in found.advice


def test_the_segmenters_parts_are_imported_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "ENGINE", "pass")
    monkeypatch.setattr(native, "SEGMENTER", "import no_such_package")
    found = native.native_libraries(MACHINE)
    assert found.outcome == "failure"
    assert "segmenter" in found.found
    assert "no_such_package" in found.found


def test_an_import_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "IMPORT_DEADLINE_S", 0.2)
    assert "not imported" in native.import_problem("import time; time.sleep(60)")


def test_an_unknown_library_is_looked_up_by_its_name() -> None:
    assert "apt-file search libodd.so.3" in native.advice_for("libodd.so.3")


def test_ldd_finds_what_a_file_lacks_and_not_what_a_neighbour_brings(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    (tmp_path / "a.c").write_text("int a(void) { return 1; }")
    for name in ("libgone.so.7", "libnear.so.1"):
        build(compiler, tmp_path, "-o", name, f"-Wl,-soname,{name}", "a.c")
    build(compiler, tmp_path, "-o", "user.so", "-Wl,--no-as-needed", "libgone.so.7", "libnear.so.1")
    (tmp_path / "libgone.so.7").unlink()
    assert native.missing_libraries(tmp_path) == {"libgone.so.7": [tmp_path / "user.so"]}


def test_libraries_of_skipped_packages_are_found_but_not_checked(
    tmp_path: Path,
) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    (tmp_path / "a.c").write_text("int a(void) { return 1; }")
    for folder in ("nvidia", "torchcodec"):
        (tmp_path / folder).mkdir()
    for name in ("libgone.so.7", "nvidia/libnccl.so.2"):
        build(compiler, tmp_path, "-o", name, f"-Wl,-soname,{Path(name).name}", "a.c")
    needed = ("libgone.so.7", "nvidia/libnccl.so.2")
    build(compiler, tmp_path, "-o", "torchcodec/core.so", "-Wl,--no-as-needed", *needed)
    build(compiler, tmp_path, "-o", "user.so", "-Wl,--no-as-needed", "nvidia/libnccl.so.2")
    (tmp_path / "libgone.so.7").unlink()
    assert native.missing_libraries(tmp_path) == {}


def test_a_missing_driver_is_reported_and_does_not_stop_the_set_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    platlib = Path(sysconfig.get_path("platlib"))
    missing = {"libcuda.so.1": [platlib / "a.so"]}
    monkeypatch.setattr(native, "missing_libraries", lambda folder: missing)
    assert native.main() == 0
    assert "NVIDIA's driver" in capsys.readouterr().out
    missing["libnuma.so.1"] = [platlib / "b.so"]
    assert native.main() == 1


def build(compiler: str, folder: Path, *arguments: str) -> None:
    subprocess.run([compiler, "-shared", "-fPIC", *arguments], cwd=folder, check=True)


@pytest.mark.slow
def test_every_library_of_this_environment_is_found() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wise_serve.preflight.native"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
