"""COCO instances with a `query` in each annotation, and COCO's segmentations for other readers.

Annotations of one image with the same query are one sample, whose truth is all of them together. An
empty `segmentation` means that the query's object is not in the image.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from wise_client.errors import InputError
from wise_client.eval.samples import Dataset, Sample, Size, Truth, in_memory, located, stated
from wise_client.masks import BoolMask, flat_ring, from_rle

FORMAT = "coco"


def read(path: Path, images: Path | None = None) -> Dataset:
    """`images`: where `file_name` starts (default: the JSON's own folder, or `images/` in it).

    Raises InputError for a file of another form.
    """
    document = load_json(path)
    try:
        images_of = {one["id"]: one for one in document["images"]}
        asked: dict[tuple[Any, str], list[Mapping[str, Any]]] = {}
        for annotation in document["annotations"]:
            image, query = annotation["image_id"], _query(path, annotation)
            if image not in images_of:
                raise InputError(f"{path}: {_name(annotation)} is of an unknown image, {image}")
            annotation["segmentation"]
            asked.setdefault((image, query), []).append(annotation)
        root = images or image_root(path.parent, [one["file_name"] for one in images_of.values()])
        samples = [
            Sample(
                f"{image}:{query}",
                located(root, images_of[image]["file_name"]),
                query,
                partial(truth, path, images_of[image], annotations),
            )
            for (image, query), annotations in asked.items()
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is not of COCO with queries ({type(error).__name__}: {error}); an annotation "
            'should hold "image_id", "segmentation" and "query"'
        ) from error
    return in_memory(str(path), FORMAT, samples)


def truth(
    path: Path, image: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]], size: Size
) -> Truth:
    """The annotations' masks together, at the displayed image's (width, height) `size`.

    Raises InputError, with the file and the annotation, when they are of another size or one of
    them cannot be read.
    """
    stated(image.get("width"), image.get("height"), size, f"{path}: image {image['id']}")
    mask = np.zeros((size[1], size[0]), dtype=bool)
    for annotation in annotations:
        try:
            mask |= decode(annotation["segmentation"], size)
        except InputError as error:
            name = f"{_name(annotation)} of image {image['id']}"
            raise InputError(f"{path}: {name}: {error.detail}") from error
    return Truth(mask)


def load_json(path: Path) -> Any:
    """JSON in UTF-8, 16 or 32, with a byte-order mark or without one.

    Raises InputError if the file is missing or not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from error


def image_root(folder: Path, names: Iterable[Any]) -> Path:
    """Where the first image is: `images/` in the folder, else the folder itself."""
    first = str(next(iter(names), ""))
    return folder / "images" if located(folder / "images", first).is_file() else folder


def decode(segmentation: Any, size: Size) -> BoolMask:
    """Polygons (joined), RLE or compressed RLE -> bool [height, width].

    A polygon of fewer than three corners encloses nothing and is left out beside others. Raises
    InputError when none is left, or a part cannot be read or is an RLE of another size.
    """
    width, height = size
    mask = np.zeros((height, width), dtype=bool)
    try:
        parts = [flat_ring(one) if isinstance(one, list) else one for one in _parts(segmentation)]
        for part in parts:
            if isinstance(part, Mapping):
                mask |= from_rle(part, size)
            elif part is not None:
                mask |= np.asarray(coco.decode(coco.frPyObjects([part], height, width)[0]), bool)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"its segmentation cannot be read: {error}") from error
    if parts and all(part is None for part in parts):
        raise InputError("its segmentation has no polygon of three corners or more")
    return mask


def _parts(segmentation: Any) -> list[Any]:
    """The polygons and RLEs; some tools write a single polygon without the list around it."""
    if isinstance(segmentation, Mapping):
        return [segmentation]
    if not isinstance(segmentation, list):
        raise TypeError(f"it is {type(segmentation).__name__}, not polygons or RLE")
    if segmentation and all(isinstance(value, int | float) for value in segmentation):
        return [segmentation]
    for part in segmentation:
        if not isinstance(part, list | Mapping):
            raise TypeError(f"a part is {type(part).__name__}, not a polygon or an RLE")
    return segmentation


def _query(path: Path, annotation: Mapping[str, Any]) -> str:
    query = annotation["query"]
    if not isinstance(query, str) or not query.strip():
        raise InputError(f"{path}: the query of {_name(annotation)} is empty, or no text")
    return query.strip()


def _name(annotation: Mapping[str, Any]) -> str:
    return f"annotation {annotation.get('id', '?')}"
