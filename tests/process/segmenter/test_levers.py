"""The segmenter's levers: what each changes, on a CPU. Compiled by a real compiler: one bucket."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch._dynamo.utils import counters
from torch.overrides import TorchFunctionMode

from reference import best_mask, iou, predictor_of
from segmenting import CPU, prompts_of, scene, segment, segmenting, settings
from wise_serve.contract.errors import NotReady
from wise_serve.contract.names import Precision
from wise_serve.contract.prompts import Prompt
from wise_serve.imaging import masks
from wise_serve.segmenter.model import DecodedMask, DecodeItem
from wise_serve.segmenter.sam2 import compiled
from wise_serve.segmenter.sam2.checkpoints import load_model
from wise_serve.segmenter.sam2.compiled import Compiled, Compiler
from wise_serve.segmenter.sam2.model import Sam2
from wise_serve.segmenter.sam2.precision import Levers
from wise_serve.segmenter.supervisor.client import SegmenterClient
from wise_serve.segmenter.supervisor.process import WorkerProcess
from wise_serve.segmenter.wire import messages as protocol
from wise_serve.segmenter.worker import main as worker

pytestmark = pytest.mark.filterwarnings("ignore:`?torch.jit:FutureWarning")
SCENES = 6


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def sam(levers: Levers | None = None) -> Sam2:
    return Sam2(load_model("miniature", CPU), CPU, levers)


def images() -> list[NDArray[np.uint8]]:
    return [scene(seed)[1] for seed in range(SCENES)]


def prompts(points: int | None = None) -> list[tuple[int, Prompt]]:
    """Index of the image, and the prompt: each shape, with 0 to 3 points in turn, or as many."""
    shapes = [(i, prompt) for i in range(SCENES) for prompt in prompts_of(scene(i)[0])]
    return [
        (i, Prompt(prompt.box, prompt.points[:1] * (number % 4 if points is None else points)))
        for number, (i, prompt) in enumerate(shapes)
    ]


def decode(
    model: Sam2, asked: Sequence[tuple[int, Prompt]], batch: int | None = None
) -> list[DecodedMask]:
    pictures = images()
    features = model.encode(pictures)
    items = [DecodeItem(features[i], prompt, pictures[i].shape[:2]) for i, prompt in asked]
    batch = batch or len(items)
    parts = [items[start : start + batch] for start in range(0, len(items), batch)]
    return [mask for part in parts for mask in model.decode(part)]


def least_iou(some: Sequence[DecodedMask], others: Sequence[DecodedMask]) -> float:
    return min(iou(one.mask, other.mask) for one, other in zip(some, others, strict=True))


# What is computed once


@pytest.mark.parametrize("batch", [1, 5])
def test_cached_constants_change_no_bit(batch: int) -> None:
    plain, kept = sam(Levers(constants=False)), sam()
    for one, other in zip(
        plain.encode(images()[:batch]), kept.encode(images()[:batch]), strict=True
    ):
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.high_res[0], other.high_res[0])
        assert torch.equal(one.high_res[1], other.high_res[1])
    asked = [question for question in prompts() if question[0] < batch]
    for theirs, ours in zip(decode(plain, asked), decode(kept, asked), strict=True):
        assert np.array_equal(theirs.runs, ours.runs)
        assert theirs.score == ours.score


# Half precision


@pytest.mark.parametrize(
    ("precision", "mean", "least"), [("bfloat16", 0.998, 0.95), ("float16", 0.9998, 0.995)]
)
def test_an_encoder_in_half_stays_near_the_public_code(
    precision: Precision, mean: float, least: float
) -> None:
    asked = prompts(points=2)
    decoded = decode(sam(Levers(precision)), asked)
    predictor = predictor_of(load_model("miniature", CPU))
    found = []
    for (index, prompt), ours in zip(asked, decoded, strict=True):
        predictor.set_image(images()[index])
        found.append(iou(ours.mask, best_mask(predictor, prompt.box, prompt.points)))
    assert np.mean(found) >= mean
    assert min(found) >= least


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_weights_held_in_half_are_those_that_autocast_makes(precision: Precision) -> None:
    cast, plain = sam(Levers(precision)), sam(Levers(precision))
    plain._model = load_model("miniature", CPU)  # its weights as they come
    for one, other in zip(cast.encode(images()), plain.encode(images()), strict=True):
        assert one.image.dtype == one.high_res[0].dtype == getattr(torch, precision)
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.high_res[1], other.high_res[1])


def test_embeddings_in_half_take_half_the_memory() -> None:
    (full,), (half,) = sam().encode(images()[:1]), sam(Levers("float16")).encode(images()[:1])
    assert half.nbytes * 2 == full.nbytes


async def test_a_worker_takes_its_precision_from_the_settings() -> None:
    drawn, pixels = scene(3)
    async with segmenting(segmenter_precision="bfloat16") as (client, _):
        found = await segment(client, 3)
    half, full = sam(Levers("bfloat16")), sam()
    for mask, prompt in zip(found, prompts_of(drawn), strict=True):
        scores = []
        for model in (half, full):
            item = DecodeItem(model.encode([pixels])[0], prompt, pixels.shape[:2])
            scores.append(model.decode([item])[0])
        assert abs(mask.score - scores[0].score) < abs(mask.score - scores[1].score)
        assert iou(masks.decode_rle(mask.size, mask.counts), scores[0].mask) >= 0.98


# Compiled


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
def test_without_a_compiler_it_says_what_is_missing() -> None:
    def broken(graph: Any, _: object) -> Any:
        raise RuntimeError("no working C++ compiler")

    with pytest.raises(NotReady, match=r"C\+\+ compiler.*--segmenter-compile"):
        sam(Levers(compiler=Compiler(1, 1, backend=broken)))


def configure(**changes: Any) -> protocol.Configure:
    wanted: dict[str, Any] = {
        **{"segmenter": "miniature", "device": "cpu", "threads": 1, "precision": "float32"},
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


# Waiting for the device


class Waits(TorchFunctionMode):
    """Calls for which the host would wait for a GPU, by name."""

    NAMES = ("tolist", "item", "cpu", "nonzero", "__bool__", "__int__", "__float__", "__index__")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in self.NAMES:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


def test_an_encode_does_not_wait_for_the_device() -> None:
    model = sam()
    with Waits() as waits:
        model.encode(images())
    assert waits.seen == []


@pytest.mark.parametrize("count", [1, 12])
def test_a_decode_waits_no_more_often_for_many_masks_than_for_one(count: int) -> None:
    """For the masks' windows, for the number of runs, for the runs, for the scores."""
    model, pictures = sam(), images()
    features = model.encode(pictures)
    items = [DecodeItem(features[i], p, pictures[i].shape[:2]) for i, p in prompts()[:count]]
    with Waits() as waits:
        model.decode(items)
    assert waits.seen == ["tolist", "nonzero", "cpu", "tolist"]
