"""Training samples of the miniature segmenter: scenes as SAM 2 sees them, prompts as the reasoner
gives them."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from miniature.scenes import MIN_SIDE, Scene, draw_scene

SIDE = 256  # of the miniature's square input, pixels
MAX_SHAPES = 5


@dataclass(frozen=True)
class Sample:
    """A scene stretched to the square. Coordinates are in the square's 256 px frame.

    image: 3 x 256 x 256 uint8. masks: S x 256 x 256 uint8, share of each pixel covered, 0..255.
    boxes: S x 4 float32 (x1, y1, x2, y2).
    """

    image: Tensor
    masks: Tensor
    boxes: Tensor


@dataclass(frozen=True)
class Prompts:
    """coordinates: N x 4 x 2 float32 (two corners, two points). labels: N x 4 int32."""

    coordinates: Tensor
    labels: Tensor


def draw_sample(rng: np.random.Generator) -> Sample:
    """A random scene of the domain. Most are small, because the model's square has only 256 px."""
    aspect = None if rng.random() < 0.6 else math.exp(rng.uniform(-2.0, 2.0))
    needed = MIN_SIDE * max(aspect or 1, 1 / (aspect or 1))
    limit = math.exp(rng.uniform(math.log(240), math.log(700 if rng.random() < 0.9 else 1600)))
    return stretch(draw_scene(rng, max_side=round(max(needed, limit)), aspect=aspect))


def stretch(scene: Scene) -> Sample:
    """A scene as SAM 2 sees it: antialiased, aspect ratio ignored."""
    width, height = scene.image.size
    pixels = torch.from_numpy(np.array(scene.image)).permute(2, 0, 1)[None].float()
    masks = torch.from_numpy(np.stack([shape.mask for shape in scene.shapes]))[None].float() * 255
    scale = torch.tensor([SIDE / width, SIDE / height] * 2)
    boxes = torch.tensor([shape.box for shape in scene.shapes], dtype=torch.float32)
    return Sample(_resize(pixels)[0], _resize(masks)[0], boxes * scale)


def _resize(planes: Tensor) -> Tensor:
    resized = functional.interpolate(
        planes, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True
    )
    return resized.round().clamp(0, 255).to(torch.uint8)


def augment(sample: Sample, rng: np.random.Generator) -> Sample:
    """One of the square's eight symmetries."""
    image, masks, boxes = sample.image, sample.masks, sample.boxes
    if rng.random() < 0.5:
        image, masks = image.flip(-1), masks.flip(-1)
        boxes = torch.stack([SIDE - boxes[:, 2], boxes[:, 1], SIDE - boxes[:, 0], boxes[:, 3]], 1)
    if rng.random() < 0.5:
        image, masks = image.flip(-2), masks.flip(-2)
        boxes = torch.stack([boxes[:, 0], SIDE - boxes[:, 3], boxes[:, 2], SIDE - boxes[:, 1]], 1)
    if rng.random() < 0.5:
        image, masks = image.transpose(-1, -2), masks.transpose(-1, -2)
        boxes = boxes[:, [1, 0, 3, 2]]
    return Sample(image, masks, boxes)


def noisy_prompt(
    rng: np.random.Generator,
    mask: NDArray[np.bool_],
    box: tuple[float, float, float, float],
    noise: float = 1.0,
) -> NDArray[np.float32]:
    """Two corners and two points (4 x 2), with errors like those of the reasoner.

    mask: H x W bool, of the same frame as `box`. noise: 1 is what training uses, 0 is exact: the
    box itself, and two points inside the mask.
    """
    height, width = mask.shape
    extent = np.array([box[2] - box[0], box[3] - box[1]])
    frame = np.array([width, height])
    spread = noise * (0.05 * extent + rng.uniform(0, 2.0 / 224) * frame)
    corners = np.array(box).reshape(2, 2) + rng.normal(0, 1, (2, 2)).clip(-2, 2) * spread
    ys, xs = np.nonzero(mask)
    if len(xs) == 0:  # thinner than a pixel of this frame
        points = np.repeat([np.array(box).reshape(2, 2).mean(axis=0)], 2, axis=0)
    else:
        chosen = rng.integers(0, len(xs), 2)
        points = np.stack([xs[chosen], ys[chosen]], 1) + 0.5
        if rng.random() < 0.5:  # the reasoner likes the middle
            points[0] = np.array(box).reshape(2, 2).mean(axis=0)
    kind = rng.random() * (noise > 0) + (noise == 0)
    if kind < 0.1:
        points[1] = points[0]
    elif kind < 0.5:
        points = points + rng.normal(0, 1, (2, 2)) * spread  # may fall just outside
    rows = [corners.clip(0, frame), points.clip(0, frame)]
    return np.concatenate(rows, dtype=np.float32, casting="same_kind")


def batch_prompts(
    rng: np.random.Generator, samples: list[Sample], per_image: int
) -> tuple[Tensor, Prompts, Tensor]:
    """Choose up to `per_image` shapes of every sample.

    Returns the index of each prompt's image (N int64), the prompts, and the targets
    (N x 256 x 256 float32, 0..1).
    """
    index, coordinates, targets = [], [], []
    for number, sample in enumerate(samples):
        shapes = rng.permutation(len(sample.boxes))[:per_image]
        for shape in shapes:
            mask = sample.masks[shape]
            x1, y1, x2, y2 = sample.boxes[shape].tolist()
            prompt = noisy_prompt(rng, (mask >= 128).numpy(), (x1, y1, x2, y2))
            index.append(number)
            coordinates.append(torch.from_numpy(prompt))
            targets.append(mask)
    stacked = torch.stack(coordinates)
    labels = torch.tensor([2, 3, 1, 1], dtype=torch.int32).expand(len(stacked), -1).clone()
    return torch.tensor(index), Prompts(stacked, labels), torch.stack(targets).float() / 255
