"""SAM 2 in batches: images of different requests encoded together, prompts decoded together.

The same mathematics as `SAM2ImagePredictor` of the sam2 package (arXiv 2408.00714, section 4),
which loops image by image; `tests/process/segmenter/test_segmenter_model.py` holds the two to
IoU >= 0.999.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wise_serve.contract.errors import NotReady
from wise_serve.contract.names import MaskChoice
from wise_serve.contract.prompts import COARSE_SIDE, FOREGROUND, Point, Prompt
from wise_serve.segmenter.model import DecodedMask, DecodeItem
from wise_serve.segmenter.sam2.buckets import BatchedStage
from wise_serve.segmenter.sam2.compiled import Compiled, Compiler
from wise_serve.segmenter.sam2.precision import (
    DTYPES,
    Levers,
    cast_encoder,
    float32_products,
    keep_constants,
)
from wise_serve.segmenter.sam2.rle import mask_runs
from wise_serve.segmenter.sam2.stages import (
    EarlierMasks,
    Features,
    coarse_logits,
    image_features,
    mask_logits,
    preprocess,
    upload,
)

log = logging.getLogger("wise_serve.segmenter")

_BOX_LABELS = (2, 3)  # how the prompt encoder marks a box's corners
_RUNS_TO_CAPTURE = 3  # torch compiles in the first, captures a graph in the second, replays it
# The part of the stage's four masks for each choice (see `mask_logits`).
_CHOSEN: Final[dict[MaskChoice, slice]] = {
    "single": slice(0, 1),
    "best": slice(1, 2),
    "all": slice(1, 4),
}


class Sam2:
    """The model on its device. Not thread-safe: one thread makes and drives it.

    It changes the model, which can then neither be trained nor be used by another `Sam2`. With a
    compiler, the constructor takes minutes, and raises NotReady if compiling fails.
    """

    def __init__(self, model: Any, device: torch.device, levers: Levers | None = None) -> None:
        levers = levers or Levers()
        self._model = model
        self._device = device
        self._encoder_dtype = DTYPES[levers.encoder]
        self._decoder_dtype = DTYPES[levers.decoder]
        self._tf32 = levers.tf32
        self.side: int = model.image_size
        if levers.constants:
            keep_constants(model)
        if levers.encoder != "float32":
            cast_encoder(model, self._encoder_dtype)
        self._encode_stage: BatchedStage = self._embed
        self._decode_stage: BatchedStage = self._candidates
        if levers.compiler is not None:
            self._compile(levers.compiler)

    @torch.inference_mode()
    def encode(self, images: Sequence[NDArray[np.uint8]]) -> list[Features]:
        """Embed H x W x 3 uint8 RGB images of any sizes in one batch; one Features (N=1) each.

        Does not wait until the device is done: see `wait`.
        """
        batch = torch.stack([preprocess(image, self.side, self._device) for image in images])
        with float32_products(tf32=self._tf32):
            image, first, second = self._encode_stage(batch)
        # Clones, because a cached view would keep the whole batch in memory.
        return [
            Features(
                image[i : i + 1].clone(), (first[i : i + 1].clone(), second[i : i + 1].clone())
            )
            for i in range(len(images))
        ]

    @torch.inference_mode()
    def decode(self, items: Sequence[DecodeItem[Features]]) -> list[DecodedMask]:
        """One mask for each item, in order; with its alternatives if the prompt asks for all.

        Items with the same number of box corners and points share one call of the mask decoder,
        also if their images differ. There is no padding, because a padding point would be one more
        token for the attention and would change the mask.
        """
        if not items:
            return []
        groups: dict[int, list[int]] = defaultdict(list)
        for position, item in enumerate(items):
            groups[len(_labels(item.prompt))].append(position)
        decoded = [self._decode([items[p] for p in positions]) for positions in groups.values()]
        order = [position for positions in groups.values() for position in positions]
        chosen = [_CHOSEN[items[position].prompt.choice] for position in order]
        owners = [p for p, c in zip(order, chosen, strict=True) for _ in range(c.start, c.stop)]
        logits, scores = (
            torch.cat([rows[c] for rows, c in zip(torch.cat(part), chosen, strict=True)])
            for part in zip(*decoded, strict=True)
        )
        with float32_products(tf32=False):  # TF32 would move the borders of masks
            runs = mask_runs(logits, [items[p].size for p in owners])
        masks: dict[int, list[DecodedMask]] = defaultdict(list)
        for position, one, score in zip(owners, runs, scores.tolist(), strict=True):
            masks[position].append(DecodedMask(items[position].size, one, score))
        found = [masks[position] for position in range(len(items))]
        return [replace(best, alternatives=tuple(others)) for best, *others in found]

    def wait(self) -> None:
        """Wait until the device has finished its work."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _decode(self, items: list[DecodeItem[Features]]) -> tuple[Tensor, ...]:
        inputs = (
            torch.cat([item.embedding.image for item in items]),
            torch.cat([item.embedding.high_res[0] for item in items]),
            torch.cat([item.embedding.high_res[1] for item in items]),
            *self._prompt_tensors(items),
        )
        earlier = self._earlier_masks(items)
        with float32_products(tf32=self._tf32):
            if earlier is not None:  # rare, so it is not compiled
                return self._candidates(*inputs, earlier)
            return self._decode_stage(*inputs)

    def _embed(self, batch: Tensor) -> tuple[Tensor, ...]:
        with self._autocast(self._encoder_dtype):
            features = image_features(self._model, batch)
        # All in the encoder's type: in half precision the cache holds twice as many.
        return tuple(t.to(self._encoder_dtype) for t in (features.image, *features.high_res))

    def _candidates(
        self,
        image: Tensor,
        first: Tensor,
        second: Tensor,
        coordinates: Tensor,
        labels: Tensor,
        earlier: EarlierMasks | None = None,
    ) -> tuple[Tensor, ...]:
        """N x 4 x r/4 x r/4 float32 logits and N x 4 predicted IoUs, as `mask_logits` has them."""
        image, first, second = (t.to(self._decoder_dtype) for t in (image, first, second))
        features = Features(image, (first, second))
        with self._autocast(self._decoder_dtype):
            logits, scores = mask_logits(self._model, features, coordinates, labels, earlier)
        return logits.float(), scores.float()

    def _autocast(self, dtype: torch.dtype) -> torch.autocast:
        half = dtype is not torch.float32
        return torch.autocast(self._device.type, dtype if half else None, enabled=half)

    def _prompt_tensors(self, items: list[DecodeItem[Features]]) -> tuple[Tensor, Tensor]:
        """Corners and points of prompts with equally many: N x P x 2 and N x P."""
        marks = [_marks(item.prompt) for item in items]
        coordinates = torch.tensor(marks, dtype=torch.float32).view(len(items), -1, 2)
        sizes = torch.tensor([(w, h) for h, w in (item.size for item in items)])
        labels = torch.tensor([_labels(item.prompt) for item in items], dtype=torch.int32)
        coordinates = coordinates / sizes[:, None, :] * self.side
        return upload(coordinates, self._device), upload(labels, self._device)

    def _earlier_masks(self, items: list[DecodeItem[Features]]) -> EarlierMasks | None:
        given = [item.prompt.mask is not None for item in items]
        if not any(given):
            return None
        blank = bytes(COARSE_SIDE**2)
        coarse = np.frombuffer(b"".join(item.prompt.mask or blank for item in items), np.uint8)
        coverage = torch.from_numpy(coarse.reshape(-1, 1, COARSE_SIDE, COARSE_SIDE).copy())
        logits = coarse_logits(upload(coverage, self._device), self.side // 4)
        return EarlierMasks(logits, upload(torch.tensor(given), self._device))

    def _compile(self, compiler: Compiler) -> None:
        encode = Compiled(self._embed, compiler, compiler.encode_batch_size)
        decode = Compiled(self._candidates, compiler, compiler.decode_batch_size)
        self._encode_stage, self._decode_stage = encode, decode
        blank = np.zeros((self.side, self.side, 3), np.uint8)
        box, point = (0.0, 0.0, self.side / 2, self.side / 2), (self.side / 4,) * 2
        try:
            for size in encode.sizes:
                _settle(f"encode {size}", partial(self.encode, [blank] * size))
            features = self.encode([blank])[0]
            for points in compiler.points:
                item = DecodeItem(features, Prompt(box, (point,) * points), (self.side,) * 2)
                for size in decode.sizes:
                    _settle(f"decode {size}, {points} points", partial(self.decode, [item] * size))
        except Exception as error:
            raise NotReady(
                "The segmenter could not be compiled: see the log. --segmenter-compile needs a C++ "
                "compiler, and on a GPU Triton; without that flag neither is needed."
            ) from error
        encode.freeze()
        decode.freeze()


def _marks(prompt: Prompt) -> list[Point]:
    """The coordinates of a prompt for the prompt encoder: corners of the box, then points."""
    corners = [] if prompt.box is None else [prompt.box[:2], prompt.box[2:]]
    return [*corners, *prompt.points]


def _labels(prompt: Prompt) -> list[int]:
    """The label of each of the marks."""
    corners = () if prompt.box is None else _BOX_LABELS
    return [*corners, *(prompt.labels or (FOREGROUND,) * len(prompt.points))]


def _settle(what: str, call: Callable[[], object]) -> None:
    begun = time.monotonic()
    for _ in range(_RUNS_TO_CAPTURE):
        call()
    log.info("compiled: %s (%.0f s)", what, time.monotonic() - begun)
