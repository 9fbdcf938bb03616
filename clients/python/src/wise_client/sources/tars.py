"""WebDataset: tar files in which files of one name, but for their endings, are one sample.

Of a sample are used: an image (`.jpg`, `.png`, `.webp`...), and for the query `.json` with "query"
(and "label", if need be), or `.txt`. A file's ending starts at the first dot of its name.
"""

import json
import re
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

from wise_client.errors import InputError
from wise_client.sources.entries import IMAGE_SUFFIXES, Asked, Entry, Image, refuse

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_KEY_AND_ENDING = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)")
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")  # how gzip, bzip2 and xz begin
_UNREADABLE = (tarfile.TarError, OSError, EOFError, ValueError)

Read = Callable[[], bytes]


@dataclass
class _Sample:
    """What one key has, by its endings, without the dot and in small letters."""

    key: str
    files: dict[str, Read] = field(default_factory=dict)


class Tars:
    """Tar files one after the other. Of uncompressed ones only the needed parts are read,
    compressed ones are read completely."""

    def __init__(self, paths: list[Path], asked: Asked) -> None:
        """Raises InputError when a file is missing."""
        self._paths = paths
        self._asked = asked
        try:
            self._total_bytes = sum(path.stat().st_size for path in paths)
        except OSError as error:
            raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error
        self._read_bytes = 0
        self._read_entries = 0

    def count(self) -> int | None:
        """An estimate, by how much of the bytes is read; exact at the end."""
        if not self._read_entries or not self._read_bytes:
            return None
        return round(self._read_entries * self._total_bytes / self._read_bytes)

    def entries(self) -> Iterator[Entry]:
        """As `Source.entries`; an image's name is the tar's path, a slash, and its name in it."""
        self._read_bytes = self._read_entries = 0
        for path in self._paths:
            before = self._read_bytes
            samples = 0
            try:
                with _opened(path) as (raw, tar, packed):
                    for sample in _samples(_files(tar, packed)):
                        samples += 1
                        self._read_bytes = before + raw.tell()
                        for entry in self._entries_of(path, sample):
                            self._read_entries += 1
                            yield entry
            except _UNREADABLE as error:
                raise InputError(
                    f"{path} cannot be read beyond its sample {samples} ({error}): mend it, or "
                    "leave it out"
                ) from error
            self._read_bytes = before + path.stat().st_size

    def _entries_of(self, path: Path, sample: _Sample) -> Iterator[Entry]:
        ending = next((one for one in sample.files if f".{one}" in IMAGE_SUFFIXES), None)
        inside = f"{sample.key}.{ending}" if ending else sample.key
        name = f"{path}/{inside}"
        read: Callable[[], bytes] = refuse(f"{name} has no image")
        if ending:
            read = partial(_image, sample.files[ending], name)
        image = Image(name, f"{path.name.partition('.')[0]}/{inside}", read)
        told = {} if self._asked.queries else _told(sample)
        return self._asked.about(image, told.get("query"), told.get("label"))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], tarfile.TarFile, bool]]:
    """The file, the archive in it, and whether it is compressed: then it cannot be read
    backwards."""
    with path.open("rb") as raw:
        packed = raw.read(8).startswith(_PACKED)
        raw.seek(0)
        with tarfile.open(fileobj=raw, mode="r|*" if packed else "r:") as tar:
            yield raw, tar, packed


def _samples(files: Iterator[tuple[str, Read]]) -> Iterator[_Sample]:
    sample = _Sample("")
    for name, read in files:
        parts = _KEY_AND_ENDING.fullmatch(name)
        if parts is None:
            continue
        key, ending = parts[1], parts[2].lower()
        if key != sample.key:
            if sample.files:
                yield sample
            sample = _Sample(key)
        sample.files[ending] = read
    if sample.files:
        yield sample


def _files(tar: tarfile.TarFile, packed: bool) -> Iterator[tuple[str, Read]]:
    """Names of files with what reads them; those of a packed tar are read as they go by."""
    while (member := tar.next()) is not None:
        # The archive would remember every member: gigabytes, in the end.
        tar.members = []  # type: ignore[attr-defined]
        if member.isfile():
            read = partial(_content, tar, member)
            yield member.name.removeprefix("./"), partial(bytes, read()) if packed else read


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    content = file.read() if file is not None else b""
    if len(content) != member.size:
        raise tarfile.ReadError("unexpected end of data")
    return content


def _image(read: Read, name: str) -> bytes:
    try:
        return read()
    except _UNREADABLE as error:
        raise InputError(f"{name} cannot be read: {error}") from error


def _told(sample: _Sample) -> dict[str, Any]:
    """The sample's query and label."""
    try:
        if "json" in sample.files:
            document = json.loads(sample.files["json"]())
            return document if isinstance(document, dict) else {}
        return {"query": sample.files["txt"]().decode()} if "txt" in sample.files else {}
    except (KeyError, UnicodeDecodeError, json.JSONDecodeError):
        return {}  # an entry without a query, which is reported as a bad record
