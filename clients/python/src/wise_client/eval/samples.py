"""What every dataset reader gives: samples, in a fixed order, read as they are needed."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from wise_client.errors import InputError
from wise_client.masks import BoolMask

Size = tuple[int, int]  # (width, height) in pixels, of the image as displayed


@dataclass(frozen=True, eq=False)
class Truth:
    """What the sample means. Both bool [height, width]; `ignore` pixels are not scored."""

    mask: BoolMask
    ignore: BoolMask | None = None


@dataclass(frozen=True, eq=False)
class Sample:
    """One question with its answer. `name` is unique in its dataset.

    `truth` makes the masks when they are needed, for the image's size as the server told it;
    it raises InputError where they do not fit that size.
    """

    name: str
    image: Path | bytes
    query: str
    truth: Callable[[Size], Truth]


@dataclass(frozen=True)
class Dataset:
    """`count` samples; `samples` starts from the first at each call."""

    name: str
    format: str
    count: int
    samples: Callable[[], Iterator[Sample]]

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Sample]:
        return self.samples()

    def limited(self, count: int | None) -> "Dataset":
        """The first `count` samples; all when None."""
        if count is None or count >= self.count:
            return self
        return replace(self, count=count, samples=lambda: itertools.islice(self.samples(), count))


def in_memory(name: str, format: str, samples: list[Sample]) -> Dataset:
    """Raises InputError when there is none."""
    if not samples:
        raise InputError(f"There is no sample in {name} (read as {format})")
    return Dataset(name, format, len(samples), lambda: iter(samples))


def fitting(mask: BoolMask, size: Size, name: str) -> BoolMask:
    """The mask itself; raises InputError when it is not of the image's size."""
    if mask.shape != (size[1], size[0]):
        height, width = mask.shape
        raise InputError(
            f"{name}: its truth is {width} x {height}, its image {size[0]} x {size[1]} pixels"
        )
    return mask


def mask_of(picture: Image.Image) -> BoolMask:
    """bool [height, width]: the pixels that are not 0; of a palette image, not its colour 0."""
    flat = picture if picture.mode in ("1", "L", "P", "I", "I;16", "F") else picture.convert("L")
    return np.asarray(np.asarray(flat) != 0, dtype=bool)
