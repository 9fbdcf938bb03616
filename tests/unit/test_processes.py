"""The models' processes: their allocator, and when their garbage collector is paused."""

import ctypes.util
import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wise_serve import device, processes
from wise_serve.settings import Settings


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets what is installed: libraries by name, and whether there is a GPU's driver."""

    def has(*libraries: str, gpu: bool = False) -> None:
        found = {name: f"lib{name}.so.4" for name in libraries}
        monkeypatch.setattr(ctypes.util, "find_library", found.get)
        monkeypatch.setattr(device, "_found", lambda: "cuda" if gpu else "cpu")
        processes.find_tcmalloc.cache_clear()

    yield has
    processes.find_tcmalloc.cache_clear()


def test_the_smaller_tcmalloc_library_is_preferred(machine: Callable[..., None]) -> None:
    machine("tcmalloc", "tcmalloc_minimal")
    added = processes.allocator_environment(Settings(), {})
    assert added == {"LD_PRELOAD": "libtcmalloc_minimal.so.4"}


def test_libraries_that_are_preloaded_already_stay(machine: Callable[..., None]) -> None:
    machine("tcmalloc")
    added = processes.allocator_environment(Settings(), {"LD_PRELOAD": "/lib/libgomp.so.1"})
    assert added == {"LD_PRELOAD": "libtcmalloc.so.4:/lib/libgomp.so.1"}


@pytest.mark.parametrize("named", ["/opt/libjemalloc.so.2", "libtcmalloc.so.4", "libmimalloc.so"])
def test_another_allocator_is_kept(machine: Callable[..., None], named: str) -> None:
    machine("tcmalloc_minimal")
    assert processes.allocator_environment(Settings(), {"LD_PRELOAD": named}) == {}


def test_no_allocator_is_preloaded_if_none_is_installed(machine: Callable[..., None]) -> None:
    machine()
    assert processes.allocator_environment(Settings(), {}) == {}


def test_no_allocator_is_preloaded_on_a_gpu_or_if_turned_off(machine: Callable[..., None]) -> None:
    machine("tcmalloc_minimal", gpu=True)
    assert processes.allocator_environment(Settings(), {}) == {}
    assert processes.allocator_environment(Settings(device="cpu"), {}) != {}
    assert processes.allocator_environment(Settings(device="cpu", tcmalloc=False), {}) == {}


@pytest.mark.parametrize("gpu", [True, False])
def test_the_models_count_gpus_as_the_gateway_lists_them(
    machine: Callable[..., None], gpu: bool
) -> None:
    machine("tcmalloc_minimal", gpu=gpu)
    added = processes.model_environment(Settings(), {})
    assert added["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert ("LD_PRELOAD" in added) != gpu
    asked = processes.model_environment(Settings(), {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"})
    assert "CUDA_DEVICE_ORDER" not in asked


CHILD = """
import gc, multiprocessing
import wise_serve.cli.main

def report():
    from wise_serve.processes import vllm_plugin
    before = gc.isenabled()
    vllm_plugin()
    print(before, gc.isenabled())

if __name__ == "__main__":
    print(gc.isenabled(), flush=True)
    process = multiprocessing.get_context("spawn").Process(target=report)
    process.start()
    process.join()
"""


@pytest.fixture(autouse=True)
def _collector_as_before() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_objects_of_the_pause_are_frozen() -> None:
    processes.pause_collector()
    assert not gc.isenabled()
    processes.resume_collector()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


def test_the_plugin_does_not_start_the_collector_of_other_processes() -> None:
    gc.disable()
    processes.vllm_plugin()
    assert not gc.isenabled()


def test_a_spawned_child_imports_with_the_collector_paused(
    tmp_path: Path,
) -> None:
    script = tmp_path / "program.py"
    script.write_text(CHILD)
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert ran.stdout.split() == ["True", "False", "True"], ran.stderr
