"""SAM 2 on one device: each lever of the segmenter beside the package's own predictor."""

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

from miniature.scenes import draw_scene
from reference import best_mask, iou, predictor_of
from wise_serve.contract.prompts import Prompt
from wise_serve.segmenter.model import DecodeItem
from wise_serve.segmenter.sam2.compiled import Compiler
from wise_serve.segmenter.sam2.model import Sam2
from wise_serve.segmenter.sam2.precision import Levers

BUCKETS = (1, 2, 4, 8, 16)


class Clock:
    """Times calls; waits for the device before and after."""

    def __init__(self, device: torch.device, repeats: int) -> None:
        self.device, self._repeats = device, repeats

    def ms(self, call: Callable[[], object]) -> float:
        """Median of the repeats. The caller has run it before: the first time is slower."""
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
    """What is compared. `default` is how the server runs without options."""
    found = {
        "nothing": Levers(constants=False),
        "default": Levers(),
        "bfloat16": Levers("bfloat16"),
        "float16": Levers("float16"),
        "float16_decoder_too": Levers("float16", "float16"),
    }
    if not compiled:
        return found
    plain = Compiler(BUCKETS[-1], BUCKETS[-1], points=(2,))
    if device.type != "cuda":
        return found | {"compiled": Levers(compiler=plain)}
    tuned = replace(plain, mode="max-autotune-no-cudagraphs")
    graphs = replace(plain, mode="reduce-overhead")
    return found | {
        "compiled_tuned": Levers(compiler=tuned),
        "captured": Levers(compiler=graphs),
        "captured_bfloat16": Levers("bfloat16", compiler=graphs),
        "captured_float16": Levers("float16", compiler=graphs),
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
) -> tuple[dict[str, float], list[NDArray[np.bool_]]]:
    """ms an image of the package's predictor, image by image, and its masks in float32."""
    public = predictor_of(model)

    def one(question: Question) -> NDArray[np.bool_]:
        public.set_image(question.image)
        return best_mask(public, question.prompt.box, question.prompt.points)

    masks = [one(question) for question in asked]
    times = {"float32": clock.ms(lambda: one(asked[0]))}
    with torch.autocast(clock.device.type, torch.bfloat16):
        one(asked[0])
        times["bfloat16"] = clock.ms(lambda: one(asked[0]))
    return times, masks


def measure(
    clock: Clock, sam: Sam2, asked: Sequence[Question], expected: Sequence[NDArray[np.bool_]]
) -> dict[str, Any]:
    """ms an image by batch size, and how near the masks are; on CUDA, waits of a batch of 16."""
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
        "mean_iou": round(float(np.mean(found)), 5),
        "least_iou": round(min(found), 5),
    }
    if clock.device.type == "cuda":
        figures["waits"] = {
            "encode": host_waits(partial(sam.encode, images)),
            "decode": host_waits(partial(sam.decode, items)),
        }
    return figures


def segmenter(clock: Clock, model: Any, *, compiled: bool) -> dict[str, Any]:
    """All levers on copies of one model, and the worst mask of those in float32."""
    asked = questions(BUCKETS[-1], model.image_size)
    times, expected = predictor(clock, model, asked)
    by_lever: dict[str, dict[str, Any]] = {}
    worst = 1.0
    for name, lever in tqdm(levers(clock.device, compiled=compiled).items(), desc="SAM 2"):
        begun = time.perf_counter()
        sam = Sam2(copy.deepcopy(model), clock.device, lever)
        start_s = round(time.perf_counter() - begun, 1)
        if clock.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        by_lever[name] = {**measure(clock, sam, asked, expected), "start_s": start_s}
        if clock.device.type == "cuda":
            by_lever[name]["peak_bytes"] = torch.cuda.max_memory_allocated()
        if lever.encoder == lever.decoder == "float32":
            worst = min(worst, by_lever[name]["least_iou"])
        del sam
    predicted = {name: round(ms, 3) for name, ms in times.items()}
    return {"predictor_ms_an_image": predicted, "levers": by_lever, "worst_iou": worst}


def table(figures: dict[str, Any]) -> list[str]:
    """In Markdown: a row for each lever, times of the smallest and of the largest batch."""
    first, last = str(BUCKETS[0]), str(BUCKETS[-1])
    rows = [
        f"| | encode ms an image at {first} / {last} | decode ms a mask at {first} / {last} "
        "| mask IoU mean / least |",
        "|---|---|---|---|",
    ]
    for name, ms in figures["predictor_ms_an_image"].items():
        rows.append(f"| the package's predictor, {name} | {ms} with decode | | |")
    for name, found in figures["levers"].items():
        encode, decode = found["encode_ms_an_image"], found["decode_ms_a_mask"]
        rows.append(
            f"| {name} | {encode[first]} / {encode[last]} | {decode[first]} / {decode[last]} "
            f"| {found['mean_iou']} / {found['least_iou']} |"
        )
    return rows
