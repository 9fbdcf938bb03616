"""A plain folder: an image, its mask and its query, by name.

cup.jpg            the image: .jpg, .jpeg, .png, .webp, .bmp
cup.mask.png       the mask, not 0 where meant; or cup.png, beside an image that is no PNG
cup.txt            the query, in UTF-8
"""

from pathlib import Path

from PIL import Image, UnidentifiedImageError

from wise_client.errors import InputError
from wise_client.eval.samples import Dataset, Sample, Size, Truth, fitting, in_memory, mask_of

FORMAT = "folder"
_IMAGES = (".jpg", ".jpeg", ".webp", ".bmp", ".png")


def read(path: Path, split: str | None = None) -> Dataset:
    """All triples of a folder, by name; `split` is a folder in it.

    Raises InputError when a query has no image or no mask, or is empty.
    """
    folder = path / split if split else path
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}")
    return in_memory(str(folder), FORMAT, [_sample(text) for text in sorted(folder.glob("*.txt"))])


def _sample(text: Path) -> Sample:
    try:
        query = text.read_text("utf-8").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"{text} is not UTF-8") from error
    if not query:
        raise InputError(f"{text} is empty; it should hold the query")
    image, mask = _files(text)
    return Sample(text.stem, image, query, lambda size: _truth(mask, size))


def _files(text: Path) -> tuple[Path, Path]:
    named = [text.with_suffix(suffix) for suffix in _IMAGES]
    image = next((one for one in named if one.is_file()), None)
    if image is None:
        raise InputError(f"{text} has no image beside it, such as {named[0].name}")
    masks = [text.with_suffix(".mask.png"), text.with_suffix(".png")]
    mask = next((one for one in masks if one.is_file() and one != image), None)
    if mask is None:
        raise InputError(f"{text} has no mask beside it: {masks[0].name}")
    return image, mask


def _truth(path: Path, size: Size) -> Truth:
    try:
        with Image.open(path) as picture:
            mask = mask_of(picture)
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    return Truth(fitting(mask, size, path.name))
