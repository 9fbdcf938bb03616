"""What the miniature reasoner sees of a scene (patches), and the truth about its parts (cells)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from miniature.reasoner_model import CELLS, GRID, MERGE, PATCH
from miniature.scenes import COLOURS, KINDS, Scene
from wise_serve.miniature import REASONER_IMAGE_SIZE as IMAGE_SIZE

Floats32 = NDArray[np.float32]
# Qwen2-VL's processor normalises with CLIP's statistics.
MEAN: Floats32 = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
CELL = IMAGE_SIZE // CELLS  # pixels


@dataclass
class Cells:
    """The truth about each of the image's 64 cells, which the training aids are asked for.

    colour, kind: 64, indices into COLOURS and KINDS; one past the last where no shape is.
    owner: 64, index of the shape under the cell, or -1.
    box: 64 x 4, x1 y1 x2 y2 of that shape in pixels of the reasoner's square.
    flags: 64 x 6, 1 where that shape is the largest, smallest, leftmost, rightmost, topmost or
    lowest. coverage: shapes x 64, the share of the cell that the shape covers, 0..1.
    """

    colour: NDArray[np.int64]
    kind: NDArray[np.int64]
    owner: NDArray[np.int64]
    box: Floats32
    flags: Floats32
    coverage: Floats32


def square_of(image: Image.Image) -> Image.Image:
    """The image resized as in serving."""
    return image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR)


def patches_of(image: Image.Image) -> Floats32:
    """(GRID*GRID) x 588 float32 of its square, in the order of Qwen2-VL's processor."""
    pixels: Floats32 = (np.asarray(square_of(image), np.float32) / np.float32(255) - MEAN) / STD
    blocks = pixels.reshape(CELLS, MERGE, PATCH, CELLS, MERGE, PATCH, 3)
    return blocks.transpose(0, 3, 1, 4, 6, 2, 5).reshape(GRID * GRID, 3 * PATCH * PATCH)


def cells_of(scene: Scene) -> Cells:
    """The truth about the scene's cells."""
    count = len(scene.shapes)
    coverage = np.zeros((count, CELLS * CELLS), np.float32)
    for i, shape in enumerate(scene.shapes):
        mask = Image.fromarray(shape.mask.astype(np.uint8) * 255)
        small = mask.resize((CELLS, CELLS), Image.Resampling.BOX)
        coverage[i] = np.asarray(small, np.float32).ravel() / 255
    shown = coverage >= np.minimum(0.25, 0.8 * coverage.max(axis=1, keepdims=True))
    owner = np.where(shown.any(axis=0), (coverage * shown).argmax(axis=0), -1)
    colours, kinds = list(COLOURS), list(KINDS)
    scale = np.array([IMAGE_SIZE / scene.image.width, IMAGE_SIZE / scene.image.height] * 2)
    boxes = np.array([shape.box for shape in scene.shapes]) * scale
    flags = np.zeros((count, 6), np.float32)
    centres = np.array([shape.centre for shape in scene.shapes])
    areas = np.array([shape.area for shape in scene.shapes])
    ranked = (-areas, areas, centres[:, 0], -centres[:, 0], centres[:, 1], -centres[:, 1])
    for flag, values in enumerate(ranked):
        flags[int(values.argmin()), flag] = 1
    return Cells(
        colour=np.where(owner >= 0, [colours.index(scene.shapes[i].colour) for i in owner], 8),
        kind=np.where(owner >= 0, [kinds.index(scene.shapes[i].kind) for i in owner], 4),
        owner=owner,
        box=boxes[owner].astype(np.float32),
        flags=flags[owner],
        coverage=coverage * (coverage >= 0.1 * coverage.max(axis=1, keepdims=True)),
    )
