"""A finished batch -> a data set in a folder of its own, which appears when it is whole."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from wise_client.errors import InputError
from wise_client.exports.files import Coco, LabelMe, Masks
from wise_client.exports.samples import Records, Sample, Samples
from wise_client.exports.table import Table
from wise_client.exports.yolo import YoloSeg
from wise_client.sources.inputs import Inputs

_MARK = ".wise-dataset"


class Writer(Protocol):
    """Writes one format into a folder."""

    def add(self, sample: Sample) -> None:
        """Write one image with what was found in it."""

    def finish(self) -> None:
        """Write what all images have in common."""


FORMATS: Final[dict[str, Callable[[Path, list[str], float], Writer]]] = {
    "coco": lambda folder, classes, _: Coco(folder, classes),
    "yolo-seg": YoloSeg,
    "labelme": lambda folder, _classes, _share: LabelMe(folder),
    "masks": lambda folder, classes, _: Masks(folder, classes),
    "parquet": lambda folder, _classes, _share: Table(folder),
}


@dataclass(frozen=True)
class Written:
    """What a data set has: images, classes; `left_out`: images without a valid answer to all."""

    images: int
    classes: list[str]
    left_out: int


def check_free(folder: Path) -> None:
    """Raises InputError when `folder` holds something that is no earlier export."""
    if folder.exists() and not (folder / _MARK).is_file():
        if folder.is_dir() and not any(folder.iterdir()):
            return
        raise InputError(f"{folder} is there, and is no earlier export: name another folder")


def write(
    form: str, folder: Path, inputs: Inputs, records: Records, val_share: float = 0.1
) -> Written:
    """Write `folder` anew, in one of FORMATS; `val_share` is YOLO's share of images for `val`.

    Raises InputError when there is something else in `folder`.
    """
    scratch = folder.with_name(f"{folder.name}.part")
    for one in (folder, scratch):
        check_free(one)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    (scratch / _MARK).touch()
    samples = Samples(inputs, records)
    writer = FORMATS[form](scratch, samples.classes, val_share)
    for sample in samples:
        writer.add(sample)
    writer.finish()
    written = Written(samples.count, samples.classes, samples.left_out)
    mark = {"format": form, "images": written.images, "classes": written.classes}
    (scratch / _MARK).write_text(json.dumps(mark), "utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    scratch.replace(folder)
    return written
