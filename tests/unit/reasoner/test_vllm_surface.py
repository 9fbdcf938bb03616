"""What the server uses of vLLM is the same in the installed build and in the GPU build."""

import ast
import json
import re
from pathlib import Path

import vllm_surface

ROOT = Path(__file__).parents[3]
RECORD = json.loads(vllm_surface.RECORD.read_text())
REASONER = ROOT / "server" / "wise_serve" / "reasoner"


def test_every_name_that_is_used_has_the_gpu_builds_signature() -> None:
    found = vllm_surface.surface(vllm_surface.installed, vllm_surface.USED)
    assert "missing" not in RECORD["names"].values()
    assert found == RECORD["names"]


def test_what_the_cpu_kernels_use_exists() -> None:
    found = vllm_surface.surface(vllm_surface.installed, vllm_surface.USED_ON_A_CPU)
    assert [name for name, signature in found.items() if signature == "missing"] == []


def test_the_record_is_of_the_version_that_a_gpu_gets() -> None:
    pinned = re.search(r"^vllm==(\S+)$", (ROOT / "constraints-gpu.txt").read_text(), re.M)
    assert pinned
    assert RECORD["wheel"].startswith(f"vllm-{pinned[1]}-")


def test_every_argument_given_to_the_engine_is_in_the_record() -> None:
    """`engine_arguments` builds a dictionary; each of its keys is a field of EngineArgs."""
    tree = ast.parse((REASONER / "inside_vllm" / "front_end.py").read_text())
    [function] = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == "engine_arguments"
    ]
    recorded = {name.rpartition(".")[2] for name in RECORD["names"]}
    given = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Dict):
            given |= {key.value for key in node.keys if isinstance(key, ast.Constant)}
    inner = {"image", "video", "backend", "method", "num_speculative_tokens"}
    inner |= {"prompt_lookup_min", "prompt_lookup_max"}  # of dictionaries inside
    assert given - inner <= recorded


def test_only_the_reasoner_imports_vllm() -> None:
    importers = {
        path.relative_to(ROOT / "server" / "wise_serve").as_posix()
        for path in (ROOT / "server" / "wise_serve").rglob("*.py")
        if re.search(r"^\s*(from|import) vllm\b", path.read_text(), re.M)
    }
    assert {Path(name).parent.as_posix() for name in importers} == {"reasoner/inside_vllm"}
