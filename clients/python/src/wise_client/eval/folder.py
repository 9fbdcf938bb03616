"""A plain folder: an image, its mask and its query, by name.

cup.jpg            the image: .jpg, .jpeg, .png, .webp, .bmp
cup.mask.png       the mask, not 0 where meant; or cup.png, beside an image that is no PNG
cup.txt            the query, in UTF-8 (or UTF-16 with a byte-order mark)

Extensions may be in upper or lower case; hidden files are left out.
"""

from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from wise_client.errors import InputError
from wise_client.eval.samples import (
    Dataset,
    Sample,
    Size,
    Truth,
    fitting,
    in_memory,
    mask_of,
    seen,
    text_of,
)

FORMAT = "folder"
_IMAGES = (".jpg", ".jpeg", ".webp", ".bmp", ".png")


def read(path: Path, split: str | None = None) -> Dataset:
    """All triples of a folder, by name; `split` is a folder in it.

    Raises InputError when a query has no image or no mask, or is empty.
    """
    folder = path / split if split else path
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}")
    files = {one.name.lower(): one for one in seen(folder, *_IMAGES)}
    return in_memory(str(folder), FORMAT, [_sample(one, files) for one in seen(folder, ".txt")])


def _sample(text: Path, files: Mapping[str, Path]) -> Sample:
    try:
        query = text_of(text).strip()
    except UnicodeDecodeError as error:
        raise InputError(f"{text} is not UTF-8") from error
    if not query:
        raise InputError(f"{text} is empty; it should hold the query")
    image, mask = _beside(text, files)
    return Sample(text.stem, image, query, lambda size: _truth(mask, size))


def _beside(text: Path, files: Mapping[str, Path]) -> tuple[Path, Path]:
    """The image and the mask; `files` by their names in lower case, as extensions vary."""
    stem = text.stem.lower()
    image = next((files[stem + one] for one in _IMAGES if stem + one in files), None)
    if image is None:
        raise InputError(f"{text} has no image beside it, such as {text.stem}{_IMAGES[0]}")
    masks = (files.get(stem + suffix) for suffix in (".mask.png", ".png"))
    mask = next((one for one in masks if one is not None and one != image), None)
    if mask is None:
        raise InputError(f"{text} has no mask beside it: {text.stem}.mask.png")
    return image, mask


def _truth(path: Path, size: Size) -> Truth:
    try:
        with Image.open(path) as picture:
            mask = mask_of(picture)
    except InputError as error:
        raise InputError(f"{path} {error.detail}") from error
    except Exception as error:  # Pillow's decoders raise nearly any type on a damaged file
        raise InputError(f"{path} cannot be read: {error}") from error
    return Truth(fitting(mask, size, str(path)))
