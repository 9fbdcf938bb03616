"""Inputs of large batches, for the client's tests: images whose size tells which one they are."""

import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from wise_client.sources.entries import Entry


def size_of(number: int) -> tuple[int, int]:
    """(width, height) of image `number`, another for each below 10,000."""
    return 24 + number % 100, 24 + number // 100


def png(number: int) -> bytes:
    """Black, with a white rectangle in the middle."""
    width, height = size_of(number)
    pixels = np.zeros((height, width), np.uint8)
    pixels[height // 4 : height // 2, width // 4 : width // 2] = 255
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


def folder(path: Path, count: int) -> Path:
    """Images 0000.png, 0001.png..."""
    path.mkdir(parents=True)
    for number in range(count):
        (path / f"{number:04}.png").write_bytes(png(number))
    return path


def parquet(path: Path, columns: Mapping[str, Sequence[Any]], rows_per_group: int = 7) -> Path:
    pq.write_table(pa.table(dict(columns)), path, row_group_size=rows_per_group)
    return path


def tar(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    """A tar, packed as its name says."""
    kind = {".gz": "w:gz", ".tgz": "w:gz", ".xz": "w:xz", ".bz2": "w:bz2"}.get(path.suffix, "w")
    with tarfile.open(path, kind) as archive:  # type: ignore[call-overload]
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def samples(numbers: range) -> list[tuple[str, bytes]]:
    """WebDataset members: an image and a query each."""
    members = []
    for number in numbers:
        text = json.dumps({"query": f"q{number}", "label": "thing"})
        members += [(f"{number:04}.png", png(number)), (f"{number:04}.json", text.encode())]
    return members


def content_of(entry: Entry) -> bytes:
    """The image of an entry."""
    image = entry.read()
    return image if isinstance(image, bytes) else image.read_bytes()
