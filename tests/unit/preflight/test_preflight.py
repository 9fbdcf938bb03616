"""`wise-serve check`: what it finds, what it advises, how it ends."""

import json
import resource
import socket
from pathlib import Path
from typing import Any

import pytest

from wise_serve import device, processes
from wise_serve.cli import main as cli
from wise_serve.device import Gpu, GpuError
from wise_serve.downloads import Checkpoint
from wise_serve.preflight import memory as sizing
from wise_serve.preflight import report as preflight
from wise_serve.preflight.checks import GIB, Check
from wise_serve.preflight.weights import Weights
from wise_serve.reasoner import options, parallel
from wise_serve.reasoner.strategies import STRATEGIES
from wise_serve.settings import Settings

LARGE, SMALL, TINY = (Gpu("Test", "570.1", size * GIB, size * GIB) for size in (80, 24, 8))
SEVEN_B, SAM_LARGE = int(16.6e9), int(0.9e9)


@pytest.fixture(autouse=True)
def native_parts_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their import takes seconds; tests/unit/preflight/test_native.py has its own."""
    found = Check("native libraries", "ok", "a test")
    monkeypatch.setattr(preflight, "native_libraries", lambda machine: found)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`machine(gpus, reasoner_bytes)` sets what the checks see."""

    def make(found: list[Gpu], reasoner_bytes: int = SEVEN_B, memory: int = 64 * GIB) -> None:
        def gpu_list() -> list[Gpu]:
            if not found:
                raise GpuError("no NVIDIA driver answers")
            return found

        def sized(name: str, miniature: Path, on_hub: Checkpoint | None) -> Weights:
            size = reasoner_bytes if miniature.name == "reasoner" else SAM_LARGE
            return Weights(size, "a test")

        monkeypatch.setattr(preflight, "usable_gpus", gpu_list)
        monkeypatch.setattr(device, "_found", lambda: "cuda" if found else "cpu")
        for module in (device, parallel):
            monkeypatch.setattr(module, "list_gpus", gpu_list)
        monkeypatch.setattr(preflight, "find_weights", sized)
        monkeypatch.setattr(sizing, "available_memory_bytes", lambda: memory)
        monkeypatch.setattr(preflight, "package_version", lambda *names: "0.33.0")

    return make


def checked(**settings: Any) -> dict[str, Check]:
    found = preflight.preflight(Settings(**{"port": 0, **settings}), STRATEGIES)
    return {check.name: check for check in found}


def test_a_large_gpu_is_enough(machine: Any) -> None:
    machine([LARGE])
    found = checked(reasoner="a/b")
    assert {check.outcome for check in found.values()} == {"ok"}
    assert "80.0 GiB" in found["memory"].found


def test_a_gpu_share_that_leaves_sam_2_too_little_is_advised(machine: Any) -> None:
    machine([SMALL])
    memory = checked(reasoner="a/b", gpu_memory_utilization=0.95)["memory"]
    assert memory.outcome == "failure"
    advised = float(memory.advice.removesuffix(".").split()[-1])
    assert checked(reasoner="a/b", gpu_memory_utilization=advised)["memory"].outcome == "ok"


def test_models_that_do_not_fit_and_a_gpu_in_use(machine: Any) -> None:
    machine([TINY])
    assert "FP8" in checked(reasoner="a/b")["memory"].advice
    machine([Gpu("Test", "570.1", 80 * GIB, 10 * GIB)])
    assert "70.0 GiB" in checked(reasoner="a/b")["memory"].advice


def test_every_worker_of_a_gpu_needs_memory(machine: Any) -> None:
    machine([LARGE, TINY])
    assert checked(reasoner="a/b")["memory"].outcome == "ok"
    many = checked(reasoner="a/b", segmenter_workers=8)["memory"]
    assert (many.outcome, "8 worker(s)" in many.found) == ("failure", True)
    elsewhere = {"reasoner": "a/b", "segmenter_devices": "cuda:1"}
    assert checked(**elsewhere)["memory"].outcome == "ok"
    assert "8.0 GiB" in checked(**elsewhere, segmenter_workers=3)["memory"].found
    assert "cuda:2" in checked(reasoner="a/b", segmenter_devices="cuda:2")["memory"].found


def test_the_engine_over_several_gpus_counts_on_each(machine: Any) -> None:
    cut = {"reasoner": "a/b", "engine_args": '{"tensor_parallel_size": 2}'}
    machine([SMALL, TINY], reasoner_bytes=int(1e10))
    assert checked(reasoner="a/b")["memory"].outcome == "ok"
    second = checked(**cut)["memory"]
    assert (second.outcome, "8.0 GiB" in second.found) == ("failure", True)
    machine([SMALL])
    found = checked(**cut)
    assert "no cuda:1" in found["memory"].found
    assert "asks for 2 GPUs" in found["memory"].advice
    assert found["engine options"].advice == found["memory"].advice
    machine([SMALL, SMALL], reasoner_bytes=int(1.5 * SEVEN_B))
    assert checked(reasoner="a/b")["memory"].outcome == "failure"
    assert checked(**cut)["memory"].outcome == "ok"  # a half on each


def test_batch_sizes_follow_the_card(machine: Any) -> None:
    machine([LARGE])
    assert "16 images and 64 prompts" in checked()["memory"].found
    machine([SMALL])
    assert "8 images and 32 prompts" in checked()["memory"].found
    assert "2 images and 32 prompts" in checked(encode_batch_size=2)["memory"].found


def test_more_threads_than_cores_are_a_warning(
    machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: range(4))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    machine([])
    assert checked(segmenter_workers=3)["threads"].outcome == "ok"
    crowded = checked(segmenter_workers=4)["threads"]
    assert crowded.outcome == "warning"
    assert crowded.found == "1 of the engine and 4 of the segmenter on 4 cores"
    for threads, counted in (("3,2", 3), (" 2 ", 2), ("many", 2)):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        found = checked(segmenter_workers=2)["threads"].found
        assert found.startswith(f"{counted} of the engine"), threads
    machine([LARGE])
    assert checked(segmenter_workers=4)["threads"].outcome == "ok"


def test_a_public_address_without_keys(machine: Any) -> None:
    machine([LARGE])
    assert "--allow-anyone" in checked(host="0.0.0.0")["API keys"].advice
    assert checked(host="0.0.0.0", allow_anyone=True)["API keys"].outcome == "ok"


def test_an_allocator_is_advised_on_a_cpu(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine([])
    monkeypatch.setattr(processes, "find_tcmalloc", lambda: None)
    found = checked(device="cpu")["allocator"]
    assert (found.outcome, "libtcmalloc" in found.advice) == ("warning", True)
    assert checked(device="cpu", tcmalloc=False)["allocator"].outcome == "ok"
    monkeypatch.setattr(processes, "find_tcmalloc", lambda: "libtcmalloc.so.4")
    assert checked(device="cpu")["allocator"].found == "libtcmalloc.so.4"
    machine([LARGE])
    assert checked()["allocator"].found == "the system's"


def test_a_machine_without_a_gpu_is_described(machine: Any) -> None:
    machine([], reasoner_bytes=GIB)
    assert checked()["GPU"].outcome == "ok"
    assert checked(reasoner="a/b")["GPU"].outcome == "warning"
    assert checked(device="cuda")["GPU"].outcome == "failure"
    machine([], reasoner_bytes=GIB, memory=GIB)
    assert "--kv-cache-bytes" in checked()["memory"].advice


def test_the_engines_caches_count_on_a_cpu(machine: Any) -> None:
    machine([], reasoner_bytes=GIB, memory=9 * GIB)
    assert checked(engine_image_cache_bytes=GIB)["memory"].outcome == "ok"
    assert checked(engine_image_cache_bytes=3 * GIB)["memory"].outcome == "failure"


def test_without_a_reasoner_its_requirements_are_not_checked(
    machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine([], memory=int(1.9e9))
    found = checked(reasoner="none")
    assert found["reasoner weights"].found == "none wanted: POST /refine is served alone"
    assert (found["reasoner weights"].outcome, found["GPU"].outcome) == ("ok", "ok")
    assert (found["memory"].outcome, "1.8 GiB needed" in found["memory"].found) == ("failure", True)
    assert "kv-cache" not in found["memory"].advice
    assert "SAM 2" in checked(reasoner="none", segmenter="a/b")["GPU"].advice
    machine([TINY])
    found = checked(reasoner="none", embedding_cache_bytes=GIB)
    assert (found["memory"].outcome, "engine" in found["memory"].found) == ("ok", False)
    assert checked(reasoner="none", segmenter_workers=9)["memory"].outcome == "failure"
    found = checked(reasoner="none", segmenter_devices="cpu")
    assert (found["memory"].outcome, "available" in found["memory"].found) == ("ok", True)
    monkeypatch.setattr(preflight, "package_version", lambda *n: "none" if "vllm" in n else "1.1")
    assert checked(reasoner="none")["versions"].outcome == "ok"


def test_the_weights_are_those_that_serve_downloads(
    machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine([LARGE])
    asked: dict[str, Checkpoint | None] = {}

    def find(name: str, miniature: Path, on_hub: Checkpoint | None) -> Weights:
        asked[name] = on_hub
        return Weights(SEVEN_B, "a test")

    monkeypatch.setattr(preflight, "find_weights", find)
    args = '{"revision": "v1", "download_dir": "/w"}'
    checked(reasoner="a/b", segmenter="facebook/sam2-hiera-large", engine_args=args)
    reasoner, segmenter = asked["a/b"], asked["facebook/sam2-hiera-large"]
    assert reasoner is not None
    assert segmenter is not None
    assert (reasoner.revision, reasoner.cache_dir) == ("v1", "/w")
    assert segmenter.allow == ("*.pt",)
    checked(reasoner="a/b", engine_args="{")
    assert asked["a/b"] is not None


def test_a_reasoner_is_no_file(machine: Any, tmp_path: Path) -> None:
    machine([LARGE])
    (file := tmp_path / "model.safetensors").write_bytes(bytes(9))
    found = checked(reasoner=str(file), segmenter=str(file))
    outcomes = [found[f"{part} weights"].outcome for part in ("reasoner", "segmenter")]
    assert outcomes == ["failure", "ok"]
    assert "folder" in found["reasoner weights"].advice


@pytest.mark.parametrize(
    ("limit", "usage", "cached"),
    [
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_memory_is_what_the_containers_limit_leaves(
    tmp_path: Path, limit: str, usage: str, cached: str
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    8000 kB\n")
    assert sizing.available_memory_bytes(tmp_path) == 8000 * 1024
    group = tmp_path / "sys/fs/cgroup"
    (group / limit).parent.mkdir(parents=True)
    (group / usage).write_text("3000000\n")
    (group / limit).with_name("memory.stat").write_text(f"anon 1\n{cached} 1000000\n")
    left = {"4000000": 2_000_000, "max": 8000 * 1024, str(2**62): 8000 * 1024, "1000": 0}
    for most, wanted in left.items():
        (group / limit).write_text(f"{most}\n")
        assert sizing.available_memory_bytes(tmp_path) == wanted


def test_missing_packages_are_named(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine([LARGE])
    monkeypatch.setattr(preflight, "package_version", lambda *names: "0.32.0")
    assert "0.33.0" in checked()["versions"].advice
    monkeypatch.setattr(preflight, "package_version", lambda *names: "none")
    assert "wise-serve[gpu]" in checked()["versions"].advice
    traced = checked(otlp_endpoint="http://localhost:4318/v1/traces")
    assert "wise-serve[otel]" in traced["tracing"].advice


def test_packages_of_the_engines_options(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine([LARGE])
    chosen = checked(structured_answers=True, ngram_tokens=2)["engine options"]
    assert (chosen.outcome, chosen.found) == ("ok", "--structured-answers, --ngram-tokens")
    monkeypatch.setattr(options, "package_version", lambda *names: "none")
    assert checked()["engine options"].outcome == "ok"
    held, guessed = checked(structured_answers=True), checked(ngram_tokens=2)
    assert held["engine options"].outcome == guessed["engine options"].outcome == "failure"
    assert "pip install llguidance" in held["engine options"].advice
    assert "pip install numba" in guessed["engine options"].advice


def test_different_gpus_in_an_unknown_order_are_reported(
    machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine([LARGE, SMALL])
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    assert checked()["GPU"].outcome == "ok"
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    assert checked()["GPU"].outcome == "warning"
    assert "set it to PCI_BUS_ID" in checked()["GPU"].advice


def test_the_operators_port_is_checked_too(machine: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = checked(ops_port=(port := taken.getsockname()[1]))["port"]
    assert (found.outcome, f":{port}:" in found.found) == ("failure", True)
    found = checked(ops_port=0, ops_host="127.0.0.9")["port"]
    assert (found.outcome, found.found) == ("ok", "127.0.0.1:0 is free, 127.0.0.9:0 is free")


def test_a_port_in_use_and_few_open_files_are_reported(machine: Any) -> None:
    machine([LARGE])
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, before[1]))
    try:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            found = checked(port=taken.getsockname()[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert "another port" in found["port"].advice
    assert "ulimit -n" in found["file limit"].advice


def test_check_exits_with_1_when_a_line_failed(
    machine: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    machine([LARGE])
    assert cli.main(["check", "--port", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    machine([TINY])
    assert cli.main(["check", "--port", "0"]) == 1
    printed = capsys.readouterr().out
    assert "failure  memory" in printed
    assert "-> The models do not fit" in printed
