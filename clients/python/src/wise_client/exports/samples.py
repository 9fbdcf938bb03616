"""The images of a finished batch, each with all answers about it, for the writers of data sets."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from wise_client import decoding
from wise_client.errors import InputError, writable
from wise_client.inputs import load_rgb, prepare
from wise_client.results import Segmentation
from wise_client.sources.entries import Entry
from wise_client.sources.inputs import Inputs

_ANSWERED = ("found", "no_target")
_SUFFIXES = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp"}


class Records(Protocol):
    """A finished output of a batch."""

    def get(self, index: int) -> dict[str, Any] | None:
        """The record of this index, if there is one."""


@dataclass(frozen=True)
class Sample:
    """One image of a data set. `file`: its path in the set, relative. `content`: its encoded
    bytes, whose pixels are upright, as masks are. `records`: what the batch has, one a query;
    `answers`: the same, read, with the class as their `query`."""

    file: PurePosixPath
    content: bytes
    records: list[dict[str, Any]]
    answers: list[Segmentation]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, as displayed."""
        return self.answers[0].size


@dataclass
class Samples:
    """All images of a batch of which every pair has a valid answer; iterated once.

    An image of which one pair failed, or was answered by no valid text, would teach that its
    object is not there: it is left out, and counted in `left_out`. The images' names are kept in
    memory, since the questions about one image need not follow one another.
    """

    inputs: Inputs
    records: Records
    classes: list[str] = field(default_factory=list)
    left_out: int = 0
    count: int = 0

    def __post_init__(self) -> None:
        self._asked: dict[str, list[tuple[int, str]]] = {}  # index and class, by the image's name
        known: dict[str, None] = {}
        for index, entry, _ in recorded(self.inputs, self.records):
            name = writable(entry.label or entry.query or "object")
            self._asked.setdefault(entry.name, []).append((index, name))
            known.setdefault(name)
        self.classes = list(known)

    def __iter__(self) -> Iterator[Sample]:
        files: set[PurePosixPath] = set()
        for entry in self.inputs.entries():
            asked = self._asked.pop(entry.name, None)
            if asked is None:
                continue  # its image is written, or it was added since
            records = [record for index, _ in asked if (record := self.records.get(index))]
            if len(records) < len(asked) or not all(map(_valid, records)):
                self.left_out += 1
                continue
            try:
                content, suffix = upright(entry.read())
            except InputError:  # gone since it was asked about
                self.left_out += 1
                continue
            answers = [
                Segmentation.from_dict(record["response"], query=name)
                for record, (_, name) in zip(records, asked, strict=True)
            ]
            self.count += 1
            yield Sample(_free(_inside(entry.file, suffix), files), content, records, answers)


def recorded(inputs: Inputs, records: Records) -> Iterator[tuple[int, Entry, dict[str, Any]]]:
    """Each record of a finished batch, with its index and its entry.

    Inputs are read again, and may have changed since they were asked about. Those that were added
    have no record, and are skipped. Raises InputError if one was removed or renamed.
    """
    index = 0
    for entry in inputs.entries():
        record = records.get(index)
        asked = (writable(entry.name), writable(entry.query))
        if record and (record["image"], record["query"]) == asked:
            yield index, entry, record
            index += 1
    if record := records.get(index):
        raise InputError(
            f"The inputs changed during the run: {record['image']}, of answer {index}, is no "
            "longer among them, or not at its place; the answers are kept"
        )


def upright(image: Path | bytes) -> tuple[bytes, str]:
    """An image's bytes and suffix; JPEG, PNG and WebP as they are unless they are to be turned.

    Loaders differ in whether they apply an orientation, so that no image is left with one.
    Raises InputError when the image cannot be read.
    """
    prepared = prepare(image)
    with decoding.open_file(prepared.content) as picture:
        turned = decoding.orientation(picture) != 1
    if turned:
        return decoding.as_png(load_rgb(image)), ".png"
    return prepared.content, _SUFFIXES[prepared.content_type]


def _valid(record: dict[str, Any]) -> bool:
    return "response" in record and record["response"]["status"] in _ANSWERED


def _inside(file: str, suffix: str) -> PurePosixPath:
    """A path that cannot lead out of the data set."""
    path = PurePosixPath(writable(file).replace("\\", "/"))
    parts = [one.replace(":", "-") for one in path.parts if one not in ("/", "..", ".")] or ["0"]
    known = path.suffix.lower() in (suffix, ".jpeg" if suffix == ".jpg" else suffix)
    name = parts[-1] if known else f"{parts[-1]}{suffix}"
    return PurePosixPath(*parts[:-1], name)


def _free(file: PurePosixPath, files: set[PurePosixPath]) -> PurePosixPath:
    """`file`, with a number added if an image of the same name (suffix apart) exists."""
    stem, number = file.with_suffix(""), 1
    while stem in files:
        number += 1
        stem = file.with_name(f"{file.stem}-{number}")
    files.add(stem)
    return stem.with_name(stem.name + file.suffix)
