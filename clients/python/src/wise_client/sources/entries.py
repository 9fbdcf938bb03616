"""What every source gives: entries, in a fixed order, one after the other."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn, Protocol

from wise_client.errors import InputError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


@dataclass(frozen=True, eq=False)
class Entry:
    """One image and one query. `name` is what outputs call the image, `label` its class or "".

    `file` is a shorter name, such as a data set gives it: a path relative to the input's root.
    `read` gives the image, a path or its encoded bytes, or raises InputError with what is wrong
    with this entry. It is valid until the source is asked for the next entry.
    """

    name: str
    file: str
    query: str
    read: Callable[[], Path | bytes]
    label: str = ""


class Source(Protocol):
    """One input of a batch."""

    def entries(self) -> Iterator[Entry]:
        """All entries, from the first at each call.

        Raises InputError when the input cannot be read any further.
        """

    def count(self) -> int | None:
        """How many entries there are. A source that does not know gives an estimate from what it
        has read up to now, or None."""


@dataclass(frozen=True, eq=False)
class Image:
    """An entry without its query."""

    name: str
    file: str
    read: Callable[[], Path | bytes]

    @classmethod
    def at(cls, path: Path, root: Path) -> "Image":
        """An image file, named relative to `root` where it lies under it."""
        file = path.relative_to(root) if path.is_relative_to(root) else path
        return cls(str(path), file.as_posix(), partial(Path, path))


@dataclass(frozen=True)
class Asked:
    """The command line's queries, as (query, label) pairs; each is asked of every image."""

    queries: tuple[tuple[str, str], ...] = ()

    def about(self, image: Image, query: object = None, label: object = None) -> Iterator[Entry]:
        """An image's entries: by the command line's queries, or else by its own `query`.

        Where that is no text, the entry is one that cannot be read.
        """
        own = query.strip() if isinstance(query, str) else ""
        for text, named in self.queries or ((own, label if isinstance(label, str) else ""),):
            read = image.read if text else refuse(f"{image.name} has no query")
            yield Entry(image.name, image.file, text, read, named)


def refuse(reason: str) -> Callable[[], NoReturn]:
    """The `read` of an entry with which something is wrong."""

    def read() -> NoReturn:
        raise InputError(reason)

    return read
