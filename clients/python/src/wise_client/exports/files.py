"""Data sets of an image file each with its annotations: COCO, LabelMe, PNG masks.

| format  | layout                                                                            |
|---------|-----------------------------------------------------------------------------------|
| coco    | `images/`, `annotations.json`: instances with RLE masks; category 1 is the first  |
| labelme | each image with a .json beside it: polygons; those of one object share a group_id |
| masks   | `images/`, `masks/` (a PNG each: 0 is background, 1 the first class), `classes.txt`; |
|         | where objects overlap, the smaller one is on top                                  |
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from wise_client import export
from wise_client.errors import InputError
from wise_client.exports.samples import Sample

_MOST_CLASSES = 65535  # of 16-bit PNG


def _placed(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


class Coco:
    """`annotations.json` is made in memory, as its readers have it there too."""

    def __init__(self, folder: Path, classes: list[str]) -> None:
        self._folder = folder
        categories = [{"id": i, "name": name} for i, name in enumerate(classes, start=1)]
        self._ids = {name: i for i, name in enumerate(classes, start=1)}
        self._document: dict[str, list[dict[str, object]]] = {
            "images": [],
            "annotations": [],
            "categories": categories,
        }

    def add(self, sample: Sample) -> None:
        """Write the image, and keep its annotations."""
        _placed(self._folder / "images" / sample.file).write_bytes(sample.content)
        images, annotations = self._document["images"], self._document["annotations"]
        number = len(images) + 1
        for answer, record in zip(sample.answers, sample.records, strict=True):
            one = export.coco([(str(sample.file), answer)])
            for annotation in one["annotations"]:
                category = self._ids[answer.query]
                own = {"id": len(annotations) + 1, "image_id": number, "category_id": category}
                annotations.append({**annotation, **own, "query": record["query"]})
        images.append({**one["images"][0], "id": number})

    def finish(self) -> None:
        """Write the document."""
        with (self._folder / "annotations.json").open("w", encoding="utf-8") as out:
            json.dump(self._document, out)


class LabelMe:
    """An image and its document at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, sample: Sample) -> None:
        """Write the image and its document, which has all answers about it."""
        path = _placed(self._folder / sample.file)
        path.write_bytes(sample.content)
        documents = [export.labelme(answer, path.name) for answer in sample.answers]
        objects = 0
        for document, answer in zip(documents, sample.answers, strict=True):
            for shape in document["shapes"]:
                shape["group_id"] += objects
            objects += len(answer.instances)
        shapes = [shape for document in documents for shape in document["shapes"]]
        text = json.dumps({**documents[0], "shapes": shapes})
        path.with_suffix(".json").write_text(text, "utf-8")

    def finish(self) -> None:
        """Nothing is left to write."""


class Masks:
    """An image and its mask at a time; 8 bits a pixel, 16 where there are more than 255 classes."""

    def __init__(self, folder: Path, classes: list[str]) -> None:
        """Raises InputError for more classes than a PNG can number."""
        if len(classes) > _MOST_CLASSES:
            raise InputError(
                f"A mask can number {_MOST_CLASSES} classes, not {len(classes)}: "
                "give --label for each --query"
            )
        self._folder = folder
        self._classes = classes
        self._numbers = {name: i for i, name in enumerate(classes, start=1)}

    def add(self, sample: Sample) -> None:
        """Write the image and its mask."""
        _placed(self._folder / "images" / sample.file).write_bytes(sample.content)
        kind = np.uint8 if len(self._classes) < 256 else np.uint16
        pixels = np.zeros(sample.size[::-1], kind)
        objects = [(one, answer.query) for answer in sample.answers for one in answer.instances]
        for one, name in sorted(objects, key=lambda pair: -pair[0].area):
            pixels[one.mask] = self._numbers[name]
        path = (self._folder / "masks" / sample.file).with_suffix(".png")
        Image.fromarray(pixels).save(_placed(path))

    def finish(self) -> None:
        """Write the classes, the first in line 1."""
        names = (" ".join(name.split()) + "\n" for name in self._classes)
        (self._folder / "classes.txt").write_text("".join(names), "utf-8")
