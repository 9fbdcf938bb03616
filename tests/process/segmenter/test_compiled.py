"""The compiled segmenter, by a real compiler in its smallest size: one bucket."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from levers import SCENES, decode, images, least_iou, prompts, sam
from segmenting import CPU, settings
from wise_serve.contract.errors import NotReady
from wise_serve.contract.names import Precision
from wise_serve.segmenter.model import DecodeItem
from wise_serve.segmenter.sam2 import compiled
from wise_serve.segmenter.sam2.compiled import Compiled, Compiler
from wise_serve.segmenter.sam2.precision import Levers
from wise_serve.segmenter.supervisor.client import SegmenterClient
from wise_serve.segmenter.supervisor.process import WorkerProcess
from wise_serve.segmenter.wire import messages as protocol
from wise_serve.segmenter.worker import main as worker

pytestmark = pytest.mark.filterwarnings("ignore:`?torch.jit:FutureWarning")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def captured(graph: Any, _: object) -> Callable[..., list[Tensor]]:
    """A backend that does to its outputs what a captured CUDA graph does: the same memory each
    time."""
    kept: list[Tensor] = []

    def run(*inputs: Tensor) -> list[Tensor]:
        outputs = graph(*inputs)
        if not kept:
            kept.extend(output.clone() for output in outputs)
        for memory, output in zip(kept, outputs, strict=True):
            memory.copy_(output)
        return kept

    return run


@pytest.mark.usefixtures("_fresh_compiler")
def test_an_answer_survives_the_next_replay_of_a_captured_graph() -> None:
    def double(rows: Tensor) -> tuple[Tensor, ...]:
        return (rows * 2,)

    doubled = Compiled(double, Compiler(1, 1, backend=captured), 2)
    (first,) = doubled(torch.ones(2, 3))
    (second,) = doubled(torch.zeros(2, 3))
    assert torch.equal(first, torch.full((2, 3), 2.0))
    assert torch.equal(second, torch.zeros(2, 3))
    (in_pieces,) = doubled(torch.arange(4.0))
    assert in_pieces.tolist() == [0, 2, 4, 6]


@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.parametrize(("precision", "largest"), [("float32", 4), ("float16", 2)])
def test_no_batch_and_no_number_of_points_compiles_while_serving(
    monkeypatch: pytest.MonkeyPatch, precision: Precision, largest: int
) -> None:
    monkeypatch.setattr(compiled, "SERVING", "fail_on_recompile")
    levers = Levers(precision, compiler=Compiler(largest, largest, backend=captured))
    counters.clear()
    model, eager = sam(levers), sam(Levers(precision))
    graphs = counters["stats"]["unique_graphs"]
    # Each of 1, 2 and 4: encode, decode with one point, decode with two.
    assert graphs == 3 * largest.bit_length()
    expected = decode(eager, prompts())
    for count in range(1, SCENES + 1):
        for one, other in zip(
            model.encode(images()[:count]), eager.encode(images()[:count]), strict=True
        ):
            assert torch.allclose(one.image.float(), other.image.float(), atol=1e-2)
    for batch in range(1, 10):
        assert least_iou(decode(model, prompts(), batch), expected) >= 0.999
    assert counters["stats"]["unique_graphs"] == graphs


@pytest.mark.usefixtures("_fresh_compiler")
def test_a_guard_that_fails_while_serving_costs_no_compile() -> None:
    model = sam(Levers(compiler=Compiler(1, 1, backend="eager")))
    graphs = counters["stats"]["unique_graphs"]
    (expected,) = model.encode(images()[:1])
    with torch.autocast("cpu", torch.bfloat16):  # not what it was compiled under
        (found,) = model.encode(images()[:1])
    assert torch.allclose(found.image, expected.image, atol=1e-4)
    assert counters["stats"]["unique_graphs"] == graphs


@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs a C++ compiler: g++")
def test_compiled_for_one_image_it_is_the_same_model() -> None:
    model = sam(Levers(compiler=Compiler(1, 1, points=(2,))))
    asked = prompts(points=2)
    assert least_iou(decode(model, asked, 1), decode(sam(), asked)) >= 0.999


@pytest.mark.usefixtures("_fresh_compiler")
def test_a_missing_compiler_is_named() -> None:
    def broken(graph: Any, _: object) -> Any:
        raise RuntimeError("no working C++ compiler")

    with pytest.raises(NotReady, match=r"--segmenter-compile.*C\+\+ compiler"):
        sam(Levers(compiler=Compiler(1, 1, backend=broken)))


def configure(**changes: Any) -> protocol.Configure:
    wanted: dict[str, Any] = {
        **{"segmenter": "miniature", "device": "cpu", "threads": 1, "precision": "float32"},
        "tf32": False,
        **{"compile": False, "encode_batch_size": 1, "decode_batch_size": 2, "batch_wait_ms": 1.0},
        **{"max_queue": 8, "cache_bytes": 0, "heartbeat_every_s": 1.0, "log_level": "info"},
    }
    return protocol.Configure(**(wanted | changes))


@pytest.mark.usefixtures("_fresh_compiler")
def test_the_worker_compiles_for_the_batches_it_may_get(monkeypatch: pytest.MonkeyPatch) -> None:
    def eager(_: torch.device, encodes: int, decodes: int) -> Compiler:
        return Compiler(encodes, decodes, backend="eager")

    monkeypatch.setattr(worker, "compiler_for", eager)
    counters.clear()
    model = worker.DeviceModel(configure(compile=True), CPU)
    assert counters["stats"]["unique_graphs"] == 1 + 2 * 2
    (embedding,) = model.encode(images()[:1])
    assert model.decode([DecodeItem(embedding, prompts()[0][1], images()[0].shape[:2])])


async def test_the_settings_reach_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[protocol.Configure] = []

    async def spawn(configuration: protocol.Configure, *_: object) -> WorkerProcess:
        seen.append(configuration)
        raise NotReady("no worker in this test")

    monkeypatch.setattr(WorkerProcess, "spawn", spawn)
    wanted = settings(segmenter_compile=True, segmenter_precision="float16", encode_batch_size=5)
    with pytest.raises(NotReady):
        await SegmenterClient(wanted).start()
    assert (seen[0].compile, seen[0].precision, seen[0].encode_batch_size) == (True, "float16", 5)
