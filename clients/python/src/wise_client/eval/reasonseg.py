"""ReasonSeg as published: `name.jpg` and `name.json` side by side, a folder a split.

The JSON holds `text` (a list of questions), `is_sentence`, and `shapes`, each with a `label` and a
polygon `points`. As in the public reader (LISA, utils/data_processing.py and utils/dataset.py):

- a label "flag" is a leftover and is skipped; a label with "ignore" in it marks pixels that are
  not scored; every other one is the target;
- polygons are painted from the largest area to the smallest, each over those before it, so that a
  small ignored region inside a target is ignored, and a small target inside an ignored one counts;
- the first of `text` is asked;
- a file that is not UTF-8 is read as Windows-1252.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from wise_client.errors import InputError
from wise_client.eval.fill import fill_polygon
from wise_client.eval.samples import Dataset, Sample, Size, Truth, in_memory

FORMAT = "reasonseg"
_SUFFIXES = (".jpg", ".jpeg", ".png")
_IGNORED = 255  # the public reader's value


def read(path: Path, split: str | None = None) -> Dataset:
    """All pairs of a folder, by name; `split` is a folder in it, such as "val".

    Raises InputError for a folder without pairs and for a JSON of another form.
    """
    folder = path / split if split else path
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}")
    samples = []
    for document in sorted(folder.glob("*.json")):
        image = image_of(document)
        if image is not None:
            samples.append(_sample(image, document))
    return in_memory(str(folder), FORMAT, samples)


def image_of(document: Path) -> Path | None:
    """The image beside a JSON file, by its name."""
    named = (document.with_suffix(suffix) for suffix in _SUFFIXES)
    return next((image for image in named if image.is_file()), None)


def _sample(image: Path, document: Path) -> Sample:
    try:
        told = json.loads(_text(document))
        query = str(told["text"][0]).strip()
        shapes = [
            (str(shape["label"]).lower(), [[float(x), float(y)] for x, y in shape["points"]])
            for shape in told["shapes"]
        ]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"{document} is not of ReasonSeg ({type(error).__name__}: {error}); it should hold "
            '"text": [a question] and "shapes": [{"label", "points"}]'
        ) from error
    return Sample(image.stem, image, query, lambda size: paint(shapes, size))


def paint(shapes: list[tuple[str, list[list[float]]]], size: Size) -> Truth:
    """(label in lower case, polygon) pairs -> the truth at `size`."""
    painted: list[tuple[int, Any]] = []
    for label, points in shapes:
        if label != "flag" and points:
            value = _IGNORED if "ignore" in label else 1
            painted.append((value, fill_polygon(points, size)))
    areas = [int(mask.sum()) for _, mask in painted]
    values = np.zeros((size[1], size[0]), dtype=np.uint8)
    for index in np.argsort(areas, kind="stable")[::-1]:
        value, mask = painted[index]
        values[mask] = value
    ignore = values == _IGNORED
    return Truth(values == 1, ignore if ignore.any() else None)


def _text(document: Path) -> str:
    content = document.read_bytes()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")
