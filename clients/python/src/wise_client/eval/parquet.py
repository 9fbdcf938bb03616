"""The parquet form on the hub, as in Ricky06662/ReasonSeg_test: a row a sample.

| column                    | holds                                                              |
|---------------------------|--------------------------------------------------------------------|
| `image`                   | {"bytes", "path"} or bytes: the encoded image                      |
| `text`                    | the query                                                          |
| `mask`                    | [height][width] of bool (or 0 and 1), or an encoded image as above |
| `image_id`, `ann_id`      | the sample's name                                                  |
| `img_height`, `img_width` | pixels                                                             |

Needs pyarrow: `pip install 'wise-client[eval]'`.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wise_client import extras
from wise_client.errors import InputError
from wise_client.eval.samples import Dataset, Sample, Size, Truth, fitting, located, mask_of
from wise_client.masks import BoolMask

FORMAT = "parquet"
COLUMNS = ("image", "text", "mask", "image_id", "ann_id", "img_height", "img_width")
_ROWS_AT_ONCE = 4  # a row holds an image and a mask of megabytes


def read(path: Path, split: str | None = None) -> Dataset:
    """A file, or all `*.parquet` under a folder in the order of their names.

    `split` keeps the files that are named after it, as the hub does: `val-00000-of-00001.parquet`.
    Raises InputError when pyarrow is missing, there is no file, or a column is missing.
    """
    files = [path] if path.is_file() else files_in(path)
    if split is not None:
        files = [one for one in files if one.name.startswith(split)]
    if not files:
        raise InputError(f"There is no parquet file{f' of {split}' if split else ''} in {path}")
    pyarrow = extras.pyarrow_parquet("eval")
    count = 0
    for one in files:
        with _opened(pyarrow, one) as table:
            missing = [name for name in COLUMNS if name not in table.schema_arrow.names]
            if missing:
                raise InputError(f"{one} has no column {', '.join(missing)}")
            count += table.metadata.num_rows
    if not count:
        raise InputError(f"There is no row in {path}")
    return Dataset(str(path), FORMAT, count, lambda: _samples(pyarrow, files))


def files_in(folder: Path) -> list[Path]:
    """Every `.parquet` under a folder, by its path; hidden files are left out."""
    return sorted(
        one
        for one in folder.rglob("*")
        if one.suffix.lower() == ".parquet" and not one.name.startswith(".") and one.is_file()
    )


def _opened(pyarrow: Any, path: Path) -> Any:
    try:
        return pyarrow.ParquetFile(path)
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise InputError(f"{path} is not read as parquet: {error}") from error


def _samples(pyarrow: Any, files: list[Path]) -> Iterator[Sample]:
    """Every row as a sample; one that cannot be read is given as `Sample.unreadable`.

    It does not raise, because other rows have been answered by then.
    """
    for path in files:
        with _opened(pyarrow, path) as table:
            row, count = 0, table.metadata.num_rows
            try:
                for batch in table.iter_batches(batch_size=_ROWS_AT_ONCE, columns=list(COLUMNS)):
                    for place in range(batch.num_rows):
                        columns = {name: batch.column(name)[place] for name in COLUMNS}
                        yield _sample(columns, path, row)
                        row += 1
            except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
                problem = InputError(f"{path}: row {row} and those after it are lost: {error}")
                for lost in range(row, count):
                    yield Sample.unreadable(f"{path.name} row {lost}", problem)


def _sample(row: dict[str, Any], path: Path, number: int) -> Sample:
    name = f"{row['image_id']}/{row['ann_id']}"
    query = row["text"].as_py()
    try:
        size = int(row["img_width"].as_py()), int(row["img_height"].as_py())
        image = _encoded(row["image"].as_py(), path)
    except (TypeError, ValueError) as error:
        problem = InputError(f"{path}: row {number}, {name}, is not read: {error}")
        return Sample.unreadable(name, problem)
    if image is None:
        problem = InputError(f"{path}: the image of {name} is neither bytes nor a path")
        return Sample.unreadable(name, problem)
    if not isinstance(query, str) or not query.strip():
        return Sample.unreadable(name, InputError(f"{path}: the text of {name} is empty"))

    def truth(shown: Size) -> Truth:
        return Truth(fitting(_mask(row["mask"], size, path, name), shown, name))

    return Sample(name, image, query.strip(), truth)


def _encoded(value: Any, path: Path) -> Path | bytes | None:
    if isinstance(value, dict):
        content, name = value.get("bytes"), value.get("path")
        return content or (located(path.parent, name) if name else None)
    return value if isinstance(value, bytes) else None


def _mask(scalar: Any, size: Size, path: Path, name: str) -> BoolMask:
    listed = hasattr(scalar.type, "value_type")  # a list goes to numpy without Python objects
    encoded = None if listed else _encoded(scalar.as_py(), path)
    try:
        if encoded is not None:
            source = io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded
            with Image.open(source) as picture:
                return mask_of(picture)
        flat = scalar.values.flatten().to_numpy(zero_copy_only=False)
        return np.asarray(flat, dtype=bool).reshape(size[1], size[0])
    except InputError as error:
        raise InputError(f"{path}: the mask of {name} {error.detail}") from error
    except Exception as error:  # Pillow's decoders raise nearly any type on a damaged mask
        raise InputError(f"{path}: the mask of {name} is not read: {error}") from error
