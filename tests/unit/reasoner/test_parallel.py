"""Parallel sizes in `--engine-args` against this machine's GPUs, before anything is loaded."""

from collections.abc import Callable

import pytest

from wise_serve import device
from wise_serve.device import Gpu, GpuError
from wise_serve.reasoner import parallel
from wise_serve.reasoner.engine_args import EngineArgsError
from wise_serve.reasoner.options import what_is_missing
from wise_serve.reasoner.parallel import Parallel, parallel_of
from wise_serve.settings import Settings

TWO, FOUR = '{"tensor_parallel_size": 2}', '{"tensor_parallel_size": 2, "data_parallel_size": 2}'


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`gpus(n)`: a machine with n of them."""

    def make(count: int) -> None:
        def listed() -> list[Gpu]:
            if not count:
                raise GpuError("no NVIDIA driver answers")
            return [Gpu("Test", "570.1", 80 * 2**30, 80 * 2**30)] * count

        for module in (device, parallel):
            monkeypatch.setattr(module, "list_gpus", listed)
        monkeypatch.setattr(device, "_found", lambda: "cuda" if count else "cpu")

    return make


def test_gpus_are_the_product_of_the_parallel_sizes() -> None:
    arguments = {"tensor_parallel_size": 2, "pipeline_parallel_size": 3, "data_parallel_size": 4}
    wanted = Parallel.of(arguments)
    assert (wanted.parts, wanted.copies, wanted.gpus) == (6, 4, 24)
    assert Parallel.of({}).gpus == parallel_of(Settings(engine_args="{")).gpus == 1


@pytest.mark.parametrize("value", ["2", 0, -1, 1.5, True, None])
def test_a_size_that_is_no_number_of_gpus_is_refused(value: object) -> None:
    with pytest.raises(EngineArgsError, match="'tensor_parallel_size' must be a whole number"):
        Parallel.of({"tensor_parallel_size": value})


def test_an_engine_that_fits_the_gpus_gives_no_message(gpus: Callable[[int], None]) -> None:
    gpus(4)
    for text in ("{}", TWO, FOUR):
        assert what_is_missing(Settings(engine_args=text)) == ""
    spread = Settings(engine_args=TWO, segmenter_devices="cuda:2,cuda:3", segmenter_workers=2)
    assert what_is_missing(spread) == ""


def test_too_few_gpus_are_counted(gpus: Callable[[int], None]) -> None:
    gpus(3)
    said = what_is_missing(Settings(engine_args=FOUR))
    assert "asks for 4 GPUs (2 for each of 2 copies of the model)" in said
    assert "shows 3" in said
    said = what_is_missing(Settings(segmenter_devices="cuda:0,cuda:3"))
    assert said == (
        "--segmenter-devices names cuda:3, and this machine shows 3 GPUs: cuda:0 to cuda:2."
    )


def test_on_a_cpu_the_engine_is_one_process(gpus: Callable[[int], None]) -> None:
    gpus(0)
    assert "the models run on a CPU" in what_is_missing(Settings(engine_args=TWO))
    assert what_is_missing(Settings(engine_args='{"tensor_parallel_size": 1}')) == ""
    assert what_is_missing(Settings(engine_args=TWO, reasoner="none")) == ""
    said = what_is_missing(Settings(device="cuda", engine_args=TWO))
    assert "no NVIDIA driver answers" in said
    gpus(8)
    assert "the models run on a CPU" in what_is_missing(Settings(device="cpu", engine_args=TWO))
