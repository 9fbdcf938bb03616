"""A folder of images, in its subfolders too; hidden files and folders are left out."""

import os
from collections.abc import Iterator
from pathlib import Path

from wise_client.errors import InputError
from wise_client.sources.entries import IMAGE_SUFFIXES, Asked, Entry, Image


class Folder:
    """Every image by every query: first the folder's own, by name, then those of each subfolder."""

    def __init__(self, path: Path, asked: Asked) -> None:
        """Raises InputError when there is no image or no query."""
        if not asked.queries:
            raise InputError(f"{path} is a folder: give --query, what to look for in each image")
        self._path = path
        self._asked = asked
        self._images = sum(1 for _ in images_in(path))
        if not self._images:
            raise InputError(f"There is no image in {path}")

    def count(self) -> int:
        """The images found at first, by the queries."""
        return self._images * len(self._asked.queries)

    def entries(self) -> Iterator[Entry]:
        """As `Source.entries`."""
        for image in images_in(self._path):
            yield from self._asked.about(Image.at(image, self._path))


def images_in(folder: Path) -> Iterator[Path]:
    """Walked anew each time: a list of ten million paths would be gigabytes."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES:
                yield Path(place, name)
