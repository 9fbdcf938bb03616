"""The stages of SAM 2 on tensors: preprocess images, embed them, and decode prompts to masks."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

# The statistics of ImageNet, as in sam2.utils.transforms.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)

EARLIER_LOGIT: Final = (
    10.0  # logit of what is surely the object; its negative: surely not the object
)


@dataclass(frozen=True, slots=True)
class Features:
    """A batch of N embedded images for the mask decoder. r: the side of the model's image.

    image: N x C x r/16 x r/16. high_res: N x C/8 x r/4 x r/4 and N x C/4 x r/8 x r/8.
    """

    image: Tensor
    high_res: tuple[Tensor, Tensor]

    def take(self, index: Tensor) -> "Features":
        """The images at `index` (int64, any length, repeats allowed)."""
        first, second = self.high_res
        return Features(self.image[index], (first[index], second[index]))

    @property
    def nbytes(self) -> int:
        """Memory that the tensors use, bytes."""
        return sum(tensor.nbytes for tensor in (self.image, *self.high_res))


@lru_cache(maxsize=4)
def _scale(device: torch.device) -> tuple[Tensor, Tensor]:
    mean, deviation = (torch.tensor(v, device=device).view(3, 1, 1) for v in (_MEAN, _DEVIATION))
    return mean, deviation


def normalise(pixels: Tensor) -> Tensor:
    """... x 3 x H x W float32 in 0..1 -> the same, normalised for the model."""
    mean, deviation = _scale(pixels.device)
    return (pixels - mean) / deviation


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to the device without waiting for its other work."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def preprocess(pixels: NDArray[np.uint8], side: int, device: torch.device) -> Tensor:
    """H x W x 3 uint8 -> 3 x side x side float32: the steps of `SAM2Transforms`, in that order.

    The image is stretched to a square by an antialiased bilinear resize, in float.
    """
    image = upload(torch.from_numpy(pixels), device).float().div_(255).permute(2, 0, 1)
    if image.shape[1:] != (side, side):
        image = functional.interpolate(
            image[None], (side, side), mode="bilinear", align_corners=False, antialias=True
        )[0]
    return normalise(image)


def image_features(model: Any, batch: Tensor) -> Features:
    """Encode N x 3 x r x r preprocessed images."""
    first, second, image = model.forward_image(batch)["backbone_fpn"]
    if model.directly_add_no_mem_embed:  # trained on videos: this says "no frames before this one"
        image = image + model.no_mem_embed.view(1, -1, 1, 1)
    return Features(image, (first, second))


def coarse_logits(coverage: Tensor, side: int) -> Tensor:
    """Earlier masks as the logits that SAM 2 expects; docs/decisions/0019 says what they mean.

    N x 1 x COARSE_SIDE x COARSE_SIDE uint8, 0 to 255 -> N x 1 x side x side float32.
    """
    share = coverage.float() / 255
    if share.shape[-1] != side:
        share = functional.interpolate(share, (side, side), mode="area")
    return (share * 2 - 1) * EARLIER_LOGIT


@dataclass(frozen=True, slots=True)
class EarlierMasks:
    """The earlier masks of N prompts.

    logits: N x 1 x r/4 x r/4 float32. given: N bool; False: the prompt has no earlier mask, and its
    logits are ignored.
    """

    logits: Tensor
    given: Tensor


def mask_logits(
    model: Any,
    features: Features,
    coordinates: Tensor,
    labels: Tensor,
    earlier: EarlierMasks | None = None,
) -> tuple[Tensor, Tensor]:
    """Decode N prompts on N images, one prompt per image.

    coordinates: N x P x 2 float32 (x, y) in the model's r x r frame: the box's two corners, then
    the points. labels: N x P int32. P may be 0 if every prompt has an earlier mask.
    Returns N x 4 x r/4 x r/4 logits and N x 4 predicted IoUs. The first mask is SAM 2's single mask
    for a clear prompt (its `multimask_output=False`). The others are its three masks for an
    ambiguous prompt (`True`), by descending predicted IoU.
    """
    encoder, decoder = model.sam_prompt_encoder, model.sam_mask_decoder
    points = (coordinates, labels) if coordinates.shape[1] else None
    sparse, dense = encoder(points=points, boxes=None, masks=earlier and earlier.logits)
    if earlier is not None:
        none = encoder.no_mask_embed.weight.view(1, -1, 1, 1)
        dense = torch.where(earlier.given.view(-1, 1, 1, 1), dense, none)
    logits, scores, _, _ = decoder.predict_masks(
        image_embeddings=features.image,
        image_pe=encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        repeat_image=False,
        high_res_features=list(features.high_res),
    )
    return _candidates(decoder, logits, scores)


def _candidates(decoder: Any, logits: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """The decoder's N x 4 masks in the order of `mask_logits`."""
    one, its_score = logits[:, :1], scores[:, :1]
    if decoder.dynamic_multimask_via_stability:  # a setting of the checkpoint
        one, its_score = decoder._dynamic_multimask_via_stability(logits, scores)
    order = scores[:, 1:].argsort(dim=1, descending=True, stable=True)
    rows = torch.arange(len(order), device=order.device)[:, None]
    three, their_scores = logits[:, 1:][rows, order], scores[:, 1:][rows, order]
    return torch.cat([one, three], dim=1), torch.cat([its_score, their_scores], dim=1)
