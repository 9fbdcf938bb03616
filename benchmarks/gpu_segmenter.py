"""Part of `gpu.py`: SAM 2 on one device, each lever compared with the package's own predictor.

SAM 2 large has random weights. Its times are those of the real model, but its masks are noise, and
differ more between two precisions than those of a trained model. torchao publishes milliseconds per
image of SAM 2 large prompted by one point, encode and decode together.
"""

import copy
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from gpu_part import Options
from miniature.scenes import draw_scene
from reference import best_mask, iou, predictor_of
from wise_serve.contract.prompts import Prompt
from wise_serve.segmenter.model import DecodeItem
from wise_serve.segmenter.sam2.checkpoints import build_public, load_model
from wise_serve.segmenter.sam2.compiled import Compiler
from wise_serve.segmenter.sam2.model import Sam2
from wise_serve.segmenter.sam2.precision import Levers, float32_products
from wise_serve.settings import MINIATURE

BUCKETS = (1, 2, 4, 8, 16)
TORCHAO_MARKS_MS = {
    "1": 25.6,
    "8": 19.6,
}  # by batch; github.com/pytorch/ao, examples/sam2_amg_server


class Clock:
    """Times calls; waits for the device before and after."""

    def __init__(self, device: torch.device, repeats: int) -> None:
        self.device, self._repeats = device, repeats

    def ms(self, call: Callable[[], object]) -> float:
        """Median of the repeats. Run the call once before, because the first time is slower."""
        return float(np.median([self._one(call) for _ in range(self._repeats)])) * 1e3

    def _one(self, call: Callable[[], object]) -> float:
        self._wait()
        begun = time.perf_counter()
        call()
        self._wait()
        return time.perf_counter() - begun

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


@dataclass(frozen=True)
class Question:
    """An image, H x W x 3 uint8, and one box with two points in it, pixels."""

    image: NDArray[np.uint8]
    prompt: Prompt


def questions(count: int, side: int) -> list[Question]:
    """Drawn scenes of one size, 4:3; the shape that is asked for is the first one."""
    found = []
    for seed in range(count):
        scene = draw_scene(np.random.default_rng(seed), max_side=side, aspect=4 / 3)
        factors = np.array([side * 4 // 3, side]) / scene.image.size
        x1, y1, x2, y2 = (float(v) for v in np.array(scene.shapes[0].box) * np.tile(factors, 2))
        width, height = x2 - x1, y2 - y1
        points = tuple((x1 + width * at, y1 + height * 0.5) for at in (0.45, 0.55))
        picture = scene.image.resize((side * 4 // 3, side), Image.Resampling.BICUBIC)
        found.append(Question(np.array(picture), Prompt((x1, y1, x2, y2), points)))
    return found


def levers(device: torch.device, *, compiled: bool) -> dict[str, Levers]:
    """The levers to compare, the most important first. `default`: a server without options."""
    if device.type != "cuda":  # no TF32 there, and no kernels for float16
        found = {
            "default": Levers(),
            "nothing": Levers(constants=False),
            "bfloat16": Levers("bfloat16"),
        }
        plain = Compiler(BUCKETS[-1], BUCKETS[-1], points=(2,))
        return found | ({"compiled": Levers(compiler=plain)} if compiled else {})
    default = Levers("bfloat16", tf32=True)
    found = {
        "default": default,
        "bfloat16, no TF32": Levers("bfloat16"),
        "float32": Levers(),
        "float32, TF32": Levers(tf32=True),
        "float16, TF32": Levers("float16", tf32=True),
        "float16, decoder too": Levers("float16", "float16"),
        "float32, constants computed anew": Levers(constants=False),
    }
    if not compiled:
        return found
    captured = Compiler(BUCKETS[-2], BUCKETS[-2], points=(1, 2), mode="reduce-overhead")
    tuned = replace(captured, mode="max-autotune-no-cudagraphs")
    return found | {
        "default, captured": replace(default, compiler=captured),
        "default, tuned": replace(default, compiler=tuned),
    }


def host_waits(call: Callable[[], object]) -> int:
    """How often a call makes the host wait for a CUDA device, as torch notices."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            call()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in seen)


def predictor(
    clock: Clock, model: Any, asked: Sequence[Question]
) -> tuple[dict[str, Any], list[NDArray[np.bool_]]]:
    """Measure the package's predictor, image by image.

    Returns ms per image in float32 and as in the public evaluation, with the IoU of the latter's
    masks; and the masks in full float32."""
    public = predictor_of(model)

    def one(question: Question) -> NDArray[np.bool_]:
        public.set_image(question.image)
        assert question.prompt.box is not None
        return best_mask(public, question.prompt.box, question.prompt.points)

    with float32_products(tf32=False):
        truth = [one(question) for question in asked]
        float32_ms = clock.ms(lambda: one(asked[0]))
    with torch.autocast(clock.device.type, torch.bfloat16):
        masks = [one(question) for question in asked]
        bfloat16_ms = clock.ms(lambda: one(asked[0]))
    found = [iou(mask, expected) for mask, expected in zip(masks, truth, strict=True)]
    return {
        "float32": {"ms_an_image": round(float32_ms, 3), "mean_iou": 1.0, "least_iou": 1.0},
        "bfloat16": {"ms_an_image": round(bfloat16_ms, 3), **_agreement(found)},
    }, truth


def _agreement(found: Sequence[float]) -> dict[str, float]:
    return {"mean_iou": round(float(np.mean(found)), 5), "least_iou": round(min(found), 5)}


def marks(clock: Clock, sam: Sam2, asked: Sequence[Question]) -> dict[str, float]:
    """ms per image, encode and decode together, with one point per prompt, by batch."""

    def both(part: Sequence[Question]) -> None:
        sam.decode(
            [
                DecodeItem(
                    features, Prompt(points=question.prompt.points[:1]), question.image.shape[:2]
                )
                for features, question in zip(
                    sam.encode([question.image for question in part]), part, strict=True
                )
            ]
        )

    found = {}
    for batch in TORCHAO_MARKS_MS:
        part = asked[: int(batch)]
        both(part)
        found[batch] = round(clock.ms(partial(both, part)) / len(part), 3)
    return found


def measure(
    clock: Clock, sam: Sam2, asked: Sequence[Question], expected: Sequence[NDArray[np.bool_]]
) -> dict[str, Any]:
    """ms per image by batch size, and the masks' IoU; on CUDA, the waits in a batch of 16."""
    encode, decode, found = {}, {}, []
    for size in BUCKETS:
        part = asked[:size]
        images = [question.image for question in part]
        items = [
            DecodeItem(features, question.prompt, question.image.shape[:2])
            for features, question in zip(sam.encode(images), part, strict=True)
        ]
        masks = sam.decode(items)
        found += [iou(m.mask, e) for m, e in zip(masks, expected[:size], strict=True)]
        encode[str(size)] = round(clock.ms(partial(sam.encode, images)) / size, 3)
        decode[str(size)] = round(clock.ms(partial(sam.decode, items)) / size, 3)
    figures: dict[str, Any] = {
        "encode_ms_an_image": encode,
        "decode_ms_a_mask": decode,
        **_agreement(found),
        "one_point_ms_an_image": marks(clock, sam, asked),
    }
    if clock.device.type == "cuda":
        figures["waits"] = {
            "encode": host_waits(partial(sam.encode, images)),
            "decode": host_waits(partial(sam.decode, items)),
        }
    return figures


def run(options: Options) -> None:
    """Measure all levers on copies of one model. Levers for which no time is left are omitted."""
    device = torch.device(options.device)
    clock = Clock(device, options.repeats)
    torch.manual_seed(0)
    model = load_model(MINIATURE, device) if options.small else build_public().to(device).eval()
    asked = questions(BUCKETS[-1], model.image_size)
    figures: dict[str, Any] = {"left_out": []}
    figures["predictor"], expected = predictor(clock, model, asked)
    by_lever: dict[str, Any] = {}
    figures["levers"] = by_lever
    options.save(figures)
    for name, lever in tqdm(levers(device, compiled=options.compiled).items(), desc="SAM 2"):
        took_s = max((found["took_s"] for found in by_lever.values()), default=0.0)
        if options.left_s < took_s:
            figures["left_out"].append(name)
            options.save(figures)
            continue
        begun = time.perf_counter()
        sam = Sam2(copy.deepcopy(model), device, lever)
        start_s = round(time.perf_counter() - begun, 1)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        found = measure(clock, sam, asked, expected) | {"start_s": start_s}
        if device.type == "cuda":
            found["peak_bytes"] = torch.cuda.max_memory_allocated()
        by_lever[name] = found | {"took_s": round(time.perf_counter() - begun, 1)}
        options.save(figures)
        del sam
