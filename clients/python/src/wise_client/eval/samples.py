"""The result of every dataset reader: samples, in a fixed order, read as they are needed."""

import codecs
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wise_client.errors import InputError
from wise_client.masks import BoolMask

Size = tuple[int, int]  # (width, height) in pixels, of the image as displayed


@dataclass(frozen=True, eq=False)
class Truth:
    """The labelled masks of a sample. Both bool [height, width]; `ignore` pixels are not scored."""

    mask: BoolMask
    ignore: BoolMask | None = None


@dataclass(frozen=True, eq=False)
class Sample:
    """One question with its answer. `name` is unique in its dataset.

    `truth` makes the masks when they are needed, for the image's size as the server reports it;
    it raises InputError where they do not fit that size. `problem` is what is wrong with the
    record itself, if anything is.
    """

    name: str
    image: Path | bytes
    query: str
    truth: Callable[[Size], Truth]
    problem: InputError | None = None

    @classmethod
    def unreadable(cls, name: str, problem: InputError) -> "Sample":
        """A record that cannot be read. Nothing is sent for it; it counts as failed."""

        def truth(size: Size) -> Truth:
            raise problem

        return cls(name, b"", "", truth, problem)


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


def seen(folder: Path, *suffixes: str) -> list[Path]:
    """The folder's files with one of `suffixes` (".jpg"), in any case, by name.

    Hidden files are left out, and so are the "._name" files that macOS writes beside the real ones.
    """
    return sorted(
        one
        for one in folder.iterdir()
        if one.suffix.lower() in suffixes and not one.name.startswith(".") and one.is_file()
    )


def located(root: Path, name: str) -> Path:
    """The file `name` below `root`; Windows' separators are read as such where no file has them."""
    path = root / name
    return path if "\\" not in name or path.exists() else root / name.replace("\\", "/")


def text_of(path: Path) -> str:
    """The file's text: UTF-8, or what its byte-order mark says. Raises UnicodeDecodeError."""
    content = path.read_bytes()
    utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if utf_16 else "utf-8-sig")


def stated(width: Any, height: Any, size: Size, name: str) -> None:
    """Raises InputError when a file states another size of the image than (width, height) `size`.

    A size that is missing, or 0, states nothing; some tools write numbers as text.
    """
    if width and height and (str(width), str(height)) != (str(size[0]), str(size[1])):
        raise InputError(
            f"{name} is annotated at {width} x {height}, the image is {size[0]} x {size[1]} pixels"
            " as displayed"
        )


def fitting(mask: BoolMask, size: Size, name: str) -> BoolMask:
    """The mask itself; raises InputError when it is not of the image's size."""
    if mask.shape != (size[1], size[0]):
        height, width = mask.shape
        raise InputError(
            f"{name}: its truth is {width} x {height}, its image {size[0]} x {size[1]} pixels"
        )
    return mask


def mask_of(picture: Image.Image) -> BoolMask:
    """bool [height, width]: the pixels that are not 0; of a palette image, not its colour 0.

    Raises InputError, without the file's name, when transparency says something else.
    """
    flat = picture
    if picture.mode not in ("1", "L", "P", "I", "I;16", "I;16B", "F"):
        flat = picture.convert("L" if picture.mode in ("LA", "La") else "RGB")
    values = np.asarray(flat)
    mask = np.asarray((values if values.ndim == 2 else values.max(axis=2)) != 0, dtype=bool)
    if picture.has_transparency_data and picture.mode not in ("I", "I;16", "I;16B", "F"):
        visible = np.asarray(picture.convert("RGBA").getchannel("A")) != 0
        if not visible.all() and not np.array_equal(visible, mask):
            raise InputError(
                "has a shape in its transparency that is not that of its colours; save the mask "
                "without an alpha channel: white where meant, black elsewhere"
            )
    return mask
