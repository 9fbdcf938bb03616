"""YOLO-seg, as ultralytics reads it (https://docs.ultralytics.com/datasets/segment).

    data.yaml                  path, train, val, names
    images/train, images/val   the images
    labels/train, labels/val   a .txt each: a line an object, `class x1 y1 x2 y2 ...`, 0 to 1

The format has one polygon an object: its parts are joined by lines there and back between their
nearest corners, and holes are cut open. An image without objects has an empty file.
"""

import hashlib
import json
import re
from pathlib import Path, PurePosixPath

import numpy as np

from wise_client.exports.samples import Sample
from wise_client.masks import BoolMask
from wise_client.polygons import Ring, without_holes


class YoloSeg:
    """Writes a folder; about `val_share` of the images, chosen by their names, are for `val`."""

    def __init__(self, folder: Path, classes: list[str], val_share: float) -> None:
        self._folder = folder
        self._classes = classes
        self._numbers = {name: number for number, name in enumerate(classes)}
        self._val_share = val_share
        self._there: set[str] = set()

    def add(self, sample: Sample) -> None:
        """Write one image and its labels."""
        split = "val" if _share(sample.file) < self._val_share else "train"
        self._there.add(split)
        file = _without_images(sample.file)
        image = self._folder / "images" / split / file
        labels = (self._folder / "labels" / split / file).with_suffix(".txt")
        for path in (image, labels):
            path.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(sample.content)
        lines = []
        for answer in sample.answers:
            for one in answer.instances:
                if one.mask.any():
                    corners = (joined(one.mask) / sample.size).ravel()
                    numbers = " ".join(f"{value:.6f}" for value in corners)
                    lines.append(f"{self._numbers[answer.query]} {numbers}\n")
        labels.write_text("".join(lines), "utf-8")

    def finish(self) -> None:
        """Write data.yaml; where a split has no image, the other stands for it."""
        train = "train" if "train" in self._there else "val"
        val = "val" if "val" in self._there else "train"
        names = [f"  {i}: {json.dumps(name)}\n" for i, name in enumerate(self._classes)]
        # JSON's strings are YAML's as well. Without `path`, paths start at this file.
        text = f"train: images/{train}\nval: images/{val}\nnames:\n{''.join(names)}"
        (self._folder / "data.yaml").write_text(text, "utf-8")


def joined(mask: BoolMask) -> Ring:
    """One polygon [n, 2] of pixel corners (x, y) around all parts of a mask that is not empty."""
    first, *rest = without_holes(mask)
    path = first
    for ring in rest:
        apart = np.abs(path[:, None] - ring[None]).sum(axis=2)
        here, there = np.unravel_index(int(apart.argmin()), apart.shape)
        loop = np.roll(ring, -int(there), axis=0)
        path = np.concatenate([path[: here + 1], loop, loop[:1], path[here:]])
    return path


def _without_images(file: PurePosixPath) -> PurePosixPath:
    """`file` without a folder `images`, because ultralytics puts `labels` in place of the last one
    to find an image's labels. It gets a `_`, and so do `images_`..., so that no two are the same.
    """
    folders = (f"{one}_" if re.fullmatch("images_*", one) else one for one in file.parts[:-1])
    return PurePosixPath(*folders, file.name)


def _share(file: PurePosixPath) -> float:
    """A number from 0 to 1 that belongs to the name: the same in each run."""
    return int.from_bytes(hashlib.sha256(str(file).encode()).digest()[:4], "big") / 2**32
