"""The dataset formats by name, and the recognition of a path's format."""

from pathlib import Path

from wise_client.errors import InputError
from wise_client.eval import coco, folder, parquet, reasonseg, refcoco
from wise_client.eval.samples import Dataset, seen

FORMATS = (reasonseg.FORMAT, parquet.FORMAT, refcoco.FORMAT, coco.FORMAT, folder.FORMAT)


def read(
    path: Path, format: str | None = None, split: str | None = None, images: Path | None = None
) -> Dataset:
    """Read a dataset; raises InputError if it is not a dataset, or if an option does not apply to
    it."""
    if not path.exists():
        raise InputError(f"There is no file or folder {path}")
    format = format or recognise(path, split)
    if images is not None and format not in (coco.FORMAT, refcoco.FORMAT):
        raise InputError(f"--images does not apply to {format}: its images lie beside the truth")
    if split is not None and format == coco.FORMAT:
        raise InputError("--split does not apply to coco: name the split's own JSON file")
    if format == coco.FORMAT:
        return coco.read(path, images)
    if format == refcoco.FORMAT:
        return refcoco.read(path, split, images)
    readers = {
        reasonseg.FORMAT: reasonseg.read,
        parquet.FORMAT: parquet.read,
        folder.FORMAT: folder.read,
    }
    return readers[format](path, split)


def recognise(path: Path, split: str | None = None) -> str:
    """The format by the files at the path; raises InputError if it is none of the known ones."""
    if path.is_file():
        suffix = path.suffix.lower()
        if suffix == ".parquet":
            return parquet.FORMAT
        if suffix == ".p" or path.name.startswith("refs"):
            return refcoco.FORMAT
        if suffix == ".json":
            return coco.FORMAT
        raise InputError(f"{path} is of no known format; give --format: {', '.join(FORMATS)}")
    inside = path / split if split and (path / split).is_dir() else path
    if refcoco.refs_files(inside):
        return refcoco.FORMAT
    if reasonseg.pairs(inside):
        return reasonseg.FORMAT
    if seen(inside, ".txt"):
        return folder.FORMAT
    if parquet.files_in(inside):
        return parquet.FORMAT
    splits = sorted(one.name for one in path.iterdir() if one.is_dir() and seen(one, ".json"))
    hint = f"; give --split, one of: {', '.join(splits)}" if splits else ""
    raise InputError(f"{path} is of no known format{hint or ' (see --help)'}")
