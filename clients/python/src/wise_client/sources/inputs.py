"""Paths of the command line -> sources, by their files; several are read one after the other."""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from wise_client.parquet.folder import JOB
from wise_client.sources import coco, folder, pairs, parquet, tars
from wise_client.sources.entries import Asked, Entry, Source

ARCHIVES = (".parquet", *tars.SUFFIXES)  # endings of files that hold many images


@dataclass(frozen=True)
class How:
    """How the inputs are read. `root`: where paths in them start, in place of each file's own."""

    asked: Asked
    root: Path | None = None
    columns: parquet.Columns = field(default_factory=parquet.Columns)


class Inputs:
    """Sources one after the other, as one."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = list(sources)
        self._estimated = [one for one in self._sources if isinstance(one, tars.Tars)]
        exact = (one for one in self._sources if not isinstance(one, tars.Tars))
        self._exact = sum(one.count() or 0 for one in exact)  # once: they may be thousands

    def entries(self) -> Iterator[Entry]:
        """As `Source.entries`."""
        return itertools.chain.from_iterable(one.entries() for one in self._sources)

    def count(self) -> int | None:
        """As `Source.count`."""
        estimates = [one.count() for one in self._estimated]
        known = [one for one in estimates if one is not None]
        return self._exact + sum(known) if len(known) == len(estimates) else None


@contextmanager
def read(names: Sequence[str], how: How, standard_input: IO[bytes]) -> Iterator[Inputs]:
    """Recognise each input; `-` is pairs from standard input.

    Raises InputError where one is missing, or cannot be read as what it is.
    """
    paths = itertools.chain.from_iterable(files_of(name) for name in names)
    sources: list[Source] = []
    with ExitStack() as files:
        for packed, group in itertools.groupby(paths, _is_tar):
            if packed:
                sources.append(tars.Tars(list(group), how.asked))
                continue
            sources += [_source(path, how, standard_input, files) for path in group]
        yield Inputs(sources)


def _is_tar(path: Path) -> bool:
    return path.name.endswith(tars.SUFFIXES)


def files_of(name: str) -> list[Path]:
    """The path itself, or all Parquet and tar files under a folder without images. Files of which a
    folder's name or their own begins with a dot or `_` are left out, and so are answers of batches.
    """
    path = Path(name)
    if name == "-" or not path.is_dir() or any(folder.images_in(path)):
        return [path]
    return sorted(_archives(path)) or [path]


def _archives(path: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(path):
        if JOB in files and Path(place) != path:
            folders.clear()
            continue
        folders[:] = [one for one in folders if not one.startswith((".", "_"))]
        for name in files:
            if not name.startswith((".", "_")) and name.endswith(ARCHIVES):
                yield Path(place, name)


def _source(path: Path, how: How, standard_input: IO[bytes], files: ExitStack) -> Source:
    """The source of one path; files that it needs open are closed with `files`."""
    if path.is_dir():
        return folder.Folder(path, how.asked)
    if path.suffix == ".parquet":
        return parquet.ParquetFile(path, how.root, how.asked, how.columns)
    if path.suffix == ".json":
        return coco.CocoFile(path, how.root, how.asked)
    if str(path) == "-":
        lines = files.enter_context(pairs.spooled(standard_input))
        return pairs.Pairs(lines, "standard input", how.root or Path(), how.asked)
    lines = files.enter_context(pairs.opened(path))
    return pairs.Pairs(lines, str(path), how.root or path.parent, how.asked)
