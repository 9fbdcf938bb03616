"""Which processes are started on tcmalloc."""

import ctypes.util
import shutil
from collections.abc import Callable, Iterator

import pytest

from wise_serve import allocator
from wise_serve.settings import Settings


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets what is installed: libraries by name, and whether there is a GPU's driver."""

    def has(*libraries: str, gpu: bool = False) -> None:
        found = {name: f"lib{name}.so.4" for name in libraries}
        monkeypatch.setattr(ctypes.util, "find_library", found.get)
        monkeypatch.setattr(shutil, "which", lambda tool: f"/usr/bin/{tool}" if gpu else None)
        allocator.installed.cache_clear()

    yield has
    allocator.installed.cache_clear()


def test_the_smaller_library_comes_first(machine: Callable[..., None]) -> None:
    machine("tcmalloc", "tcmalloc_minimal")
    added = allocator.preloading(Settings(), {})
    assert added == {"LD_PRELOAD": "libtcmalloc_minimal.so.4"}


def test_what_is_preloaded_already_stays(machine: Callable[..., None]) -> None:
    machine("tcmalloc")
    added = allocator.preloading(Settings(), {"LD_PRELOAD": "/lib/libgomp.so.1"})
    assert added == {"LD_PRELOAD": "libtcmalloc.so.4:/lib/libgomp.so.1"}


@pytest.mark.parametrize("named", ["/opt/libjemalloc.so.2", "libtcmalloc.so.4", "libmimalloc.so"])
def test_another_allocator_is_kept(machine: Callable[..., None], named: str) -> None:
    machine("tcmalloc_minimal")
    assert allocator.preloading(Settings(), {"LD_PRELOAD": named}) == {}


def test_nothing_is_added_where_it_is_not_installed(machine: Callable[..., None]) -> None:
    machine()
    assert allocator.preloading(Settings(), {}) == {}


def test_nothing_is_added_where_it_is_not_wanted(machine: Callable[..., None]) -> None:
    machine("tcmalloc_minimal", gpu=True)
    assert allocator.preloading(Settings(), {}) == {}
    assert allocator.preloading(Settings(device="cpu"), {}) != {}
    assert allocator.preloading(Settings(device="cpu", tcmalloc=False), {}) == {}
