"""ReasonSeg as published: `name.jpg` and `name.json` side by side, a folder a split.

The JSON holds `text` (a list of questions, or one), `is_sentence`, and `shapes`, each with a
`label` and a polygon `points`; LabelMe's other shapes are read by their own meaning (see
`shapes`). As in the public reader (LISA, utils/data_processing.py and utils/dataset.py):

- a label "flag" is a leftover and is skipped; a label with "ignore" in it marks pixels that are
  not scored; every other one is the target;
- polygons are painted from the largest area to the smallest, each over those before it, so that a
  small ignored region inside a target is ignored, and a small target inside an ignored one counts;
- the first of `text` is asked;
- a file that is not UTF-8, nor UTF-16 by its byte-order mark, is read as Windows-1252.

A polygon of fewer than three corners encloses nothing and is left out where its label has others.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wise_client import extras
from wise_client.errors import InputError
from wise_client.eval import shapes
from wise_client.eval.samples import (
    Dataset,
    Sample,
    Size,
    Truth,
    in_memory,
    seen,
    stated,
    text_of,
)
from wise_client.masks import BoolMask

FORMAT = "reasonseg"
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_IGNORED = 255  # the public reader's value


def read(path: Path, split: str | None = None) -> Dataset:
    """All pairs of a folder, by name; `split` is a folder in it, such as "val".

    Raises InputError for a folder without pairs, for a JSON of another form, and where OpenCV is
    not installed.
    """
    extras.opencv()
    folder = path / split if split else path
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}")
    return in_memory(str(folder), FORMAT, [_sample(*pair) for pair in pairs(folder)])


def pairs(folder: Path) -> list[tuple[Path, Path]]:
    """(image, JSON) of the same name, by name; extensions count in any case."""
    images: dict[str, Path] = {}
    for image in sorted(seen(folder, *_SUFFIXES), key=lambda one: one.suffix.lower()):
        images.setdefault(image.stem, image)
    return [
        (images[document.stem], document)
        for document in seen(folder, ".json")
        if document.stem in images
    ]


def paint(drawn: Sequence[Mapping[str, Any]], size: Size) -> Truth:
    """LabelMe's shapes -> the truth at the displayed image's (width, height) `size`.

    Raises InputError, with the number of the shape, when one cannot be read, and when all shapes of
    a label (target, or ignored) enclose nothing.
    """
    masks: list[tuple[int, BoolMask]] = []
    empty: dict[int, int] = {}
    for number, shape in enumerate(drawn):
        label = str(shape["label"]).lower()
        if label == "flag":
            continue
        value = _IGNORED if "ignore" in label else 1
        try:
            mask = shapes.draw(shape, size)
        except InputError as error:
            raise InputError(f"shapes[{number}] is {error.detail}") from error
        if mask is None:
            empty[value] = number
        else:
            masks.append((value, mask))
    for value, number in empty.items():
        if all(value != other for other, _ in masks):
            raise InputError(f"shapes[{number}] is a polygon of fewer than three corners")
    return _layered(masks, size)


def _layered(masks: list[tuple[int, BoolMask]], size: Size) -> Truth:
    """Painted from the largest area to the smallest, each over those before it."""
    areas = [int(mask.sum()) for _, mask in masks]
    values = np.zeros((size[1], size[0]), dtype=np.uint8)
    for index in np.argsort(areas, kind="stable")[::-1]:
        value, mask = masks[index]
        values[mask] = value
    ignore = values == _IGNORED
    return Truth(values == 1, ignore if ignore.any() else None)


def _sample(image: Path, document: Path) -> Sample:
    try:
        content = json.loads(_text(document))
        query = _query(content["text"])
        for shape in content["shapes"]:
            shape["label"], shape["points"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise InputError(
            f"{document} is not of ReasonSeg ({type(error).__name__}: {error}); it should hold "
            '"text": [a question] and "shapes": [{"label", "points"}]'
        ) from error
    return Sample(image.stem, image, query, partial(_truth, document, content))


def _query(text: Any) -> str:
    first = text if isinstance(text, str) else text[0]
    if not isinstance(first, str) or not first.strip():
        raise ValueError("the question in text is empty, or no text")
    return first.strip()


def _truth(document: Path, content: Mapping[str, Any], size: Size) -> Truth:
    stated(content.get("imageWidth"), content.get("imageHeight"), size, str(document))
    try:
        return paint(content["shapes"], size)
    except InputError as error:
        raise InputError(f"{document}: {error.detail}") from error


def _text(document: Path) -> str:
    try:
        return text_of(document)
    except UnicodeDecodeError:
        return document.read_bytes().decode("cp1252", errors="replace")
