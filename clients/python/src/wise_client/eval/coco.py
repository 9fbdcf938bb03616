"""COCO instances with a `query` in each annotation, and COCO's segmentations for other readers.

Annotations of one image with the same query are one sample, their truth is all of them together.
An empty `segmentation` means that the query names nothing in the image.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from wise_client.errors import InputError
from wise_client.eval.samples import Dataset, Sample, Size, Truth, fitting, in_memory
from wise_client.masks import BoolMask

FORMAT = "coco"


def read(path: Path, images: Path | None = None) -> Dataset:
    """`images`: where `file_name` starts (default: the JSON's own folder, or `images/` in it).

    Raises InputError for a file of another form.
    """
    document = load_json(path)
    try:
        files = {one["id"]: one["file_name"] for one in document["images"]}
        asked: dict[tuple[Any, str], list[Any]] = {}
        for annotation in document["annotations"]:
            key = (annotation["image_id"], str(annotation["query"]).strip())
            asked.setdefault(key, []).append(annotation["segmentation"])
        root = images or image_root(path.parent, files.values())
        samples = [
            Sample(f"{image}:{query}", root / files[image], query, _truth_of(parts, str(image)))
            for (image, query), parts in asked.items()
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is not of COCO with queries ({type(error).__name__}: {error}); an annotation "
            'should hold "image_id", "segmentation" and "query"'
        ) from error
    return in_memory(str(path), FORMAT, samples)


def load_json(path: Path) -> Any:
    """Raises InputError when the file is missing or no JSON."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error


def image_root(folder: Path, names: Any) -> Path:
    """Where the first image is: `images/` in the folder, else the folder itself."""
    first = next(iter(names), "")
    return folder / "images" if (folder / "images" / first).is_file() else folder


def decode(segmentation: Any, size: Size) -> BoolMask:
    """Polygons (joined), RLE or compressed RLE -> bool [height, width].

    Raises InputError when it is none of these, or an RLE of another size.
    """
    width, height = size
    if isinstance(segmentation, Mapping):
        segmentation = [segmentation]
    mask = np.zeros((height, width), dtype=bool)
    try:
        for part in segmentation:
            if isinstance(part, Mapping) and isinstance(part["counts"], str | bytes):
                counts = part["counts"]
                rle = {**part, "counts": counts.encode() if isinstance(counts, str) else counts}
            elif isinstance(part, Mapping):
                rle = coco.frPyObjects(dict(part), *part["size"])
            else:
                rle = coco.frPyObjects([[float(value) for value in part]], height, width)[0]
            found = np.asarray(coco.decode(rle), dtype=bool)
            mask |= fitting(found, size, "the annotation")
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"The segmentation cannot be read: {error}") from error
    return mask


def _truth_of(parts: list[Any], name: str) -> Any:
    def truth(size: Size) -> Truth:
        try:
            masks = [decode(part, size) for part in parts]
        except InputError as error:
            raise InputError(f"image {name}: {error.detail}") from error
        return Truth(np.logical_or.reduce(masks))

    return truth
