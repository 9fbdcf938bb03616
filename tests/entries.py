"""The entries of a batch's inputs, as the tests compare them."""

import io
from pathlib import Path
from typing import Any

from bulk_data import content_of, png
from wise_client import InputError
from wise_client.sources.entries import Asked, Entry
from wise_client.sources.inputs import How, read

OWN = Asked()
CUP = Asked((("the cup", "cup"),))


def told(path: Path | list[Path], asked: Asked = OWN, **how: Any) -> list[Entry]:
    """The entries, without their images."""
    names = [str(one) for one in ([path] if isinstance(path, Path) else path)]
    with read(names, How(asked, **how), io.BytesIO()) as inputs:
        return list(inputs.entries())


def seen(path: Path | list[Path], asked: Asked = OWN, **how: Any) -> list[tuple[Any, ...]]:
    """(file, query, label, number of the image or what is wrong with it) of all entries."""
    names = [str(one) for one in ([path] if isinstance(path, Path) else path)]
    numbers = {png(number): number for number in range(40)}
    with read(names, How(asked, **how), io.BytesIO()) as inputs:
        found: list[tuple[Any, ...]] = []
        for entry in inputs.entries():
            try:
                image: Any = numbers[content_of(entry)]
            except InputError as error:
                image = error.detail
            found.append((entry.file, entry.query, entry.label, image))
        assert inputs.count() == len(found)
    return found
