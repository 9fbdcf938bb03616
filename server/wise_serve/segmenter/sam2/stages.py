"""The stages of SAM 2 on tensors: pixels to the encoder's input, embeddings, masks of prompts."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

# Of ImageNet, as in sam2.utils.transforms.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Features:
    """A batch of N embedded images, as the mask decoder reads them (r: the model's image side).

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
        """Memory of the tensors, bytes."""
        return sum(tensor.nbytes for tensor in (self.image, *self.high_res))


@lru_cache(maxsize=4)
def _scale(device: torch.device) -> tuple[Tensor, Tensor]:
    mean, deviation = (torch.tensor(v, device=device).view(3, 1, 1) for v in (_MEAN, _DEVIATION))
    return mean, deviation


def normalise(pixels: Tensor) -> Tensor:
    """... x 3 x H x W float32 in 0..1 -> the model's input scale."""
    mean, deviation = _scale(pixels.device)
    return (pixels - mean) / deviation


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """To the device, without waiting for what it does."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def preprocess(pixels: NDArray[np.uint8], side: int, device: torch.device) -> Tensor:
    """H x W x 3 uint8 -> 3 x side x side float32: what `SAM2Transforms` does, in its order.

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


def mask_logits(
    model: Any, features: Features, coordinates: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Decode N prompts on N images, one each: N x 3 x r/4 x r/4 logits and N x 3 predicted IoUs.

    coordinates: N x P x 2 float32 (x, y) in the model's r x r frame: the box's two corners, then
    points. labels: N x P int32.
    """
    sparse, dense = model.sam_prompt_encoder(points=(coordinates, labels), boxes=None, masks=None)
    logits, scores, _, _ = model.sam_mask_decoder(
        image_embeddings=features.image,
        image_pe=model.sam_prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
        repeat_image=False,
        high_res_features=list(features.high_res),
    )
    return logits, scores
