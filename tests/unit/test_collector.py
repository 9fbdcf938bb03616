"""The garbage collector rests while a process starts, and never longer."""

import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wise_serve import collector, parent

CHILD = """
import gc, multiprocessing
import wise_serve.cli

def report():
    from wise_serve.parent import vllm_plugin
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
def _as_before() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_what_was_made_meanwhile_is_kept_out_of_the_collector_s_way() -> None:
    collector.pause()
    assert not gc.isenabled()
    collector.resume()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


def test_the_plugin_leaves_other_processes_collectors_alone() -> None:
    gc.disable()
    parent.vllm_plugin()
    assert not gc.isenabled()


def test_a_child_imports_without_it_and_works_with_it(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(CHILD)
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert ran.stdout.split() == ["True", "False", "True"], ran.stderr
