"""The arguments of `wise-segment batch`."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from wise_client.cli.common import add_concurrency, parser, positive_int, share
from wise_client.errors import InputError
from wise_client.exports.dataset import FORMATS, check_free
from wise_client.sources.entries import Asked
from wise_client.sources.inputs import How, Inputs, read
from wise_client.sources.parquet import Columns

_DESCRIPTION = """\
Ask about many images, a hundred or ten million. Answers are saved as they come. A run that was
stopped or killed continues when it is started again with the same arguments. At the end there is
exactly one row for each input. Memory does not grow with the number of inputs.

  wise-segment batch photos/ --query "the cup" -o cups.jsonl
  wise-segment batch pairs.jsonl -o answers/
  wise-segment batch images-*.parquet --query-column caption -o answers/
  wise-segment batch shards/*.tar --query "the cup" --query "the spoon" -o answers/
  wise-segment batch instances_val2017.json --image-root val2017/ -o answers/
  wise-segment batch photos/ --query "a cup" --label cup -o answers/ --export yolo-seg
  until wise-segment batch shards/*.tar -o answers/ --url http://gpu:8000; do sleep 10; done
"""
_EPILOG = """\
inputs: one or several, of the same kind or of different kinds; they are read in this order:
  a folder      its images, also in subfolders, with each --query; without images, its .parquet and
                .tar files
  .jsonl, -     {"image": "photo.jpg", "query": "the cup she could drink from", "label": "cup"}
                per line; paths are relative to the file's folder; without "query", --query is used
  .parquet      a row per image: image (bytes, {"bytes", "path"} or a path), and query or text
  .tar          WebDataset: a sample is an image and .json with "query", or .txt; also .tar.gz...
  .json         COCO: each image with its annotations' "query", or with its categories' names

output:
  a folder      Parquet, a row per pair: masks as RLE, boxes, points, tokens, times, or the error
                (needs: pip install 'wise-client[batch]')
  a .jsonl file {"index": 0, "image": "...", "query": "...", "options": {}, "response": {...}}
                per line, in the inputs' order when the run is complete;
                for a failed pair, "error" in place of "response":
                {"code", "detail", "status", "request_id"}

training sets (--export), each in a separate folder next to the output, such as answers.coco/:
  coco       images/ and annotations.json, masks as RLE
  yolo-seg   images/, labels/ and data.yaml, as ultralytics reads them
  labelme    a .json next to each image
  masks      images/, masks/ as PNG (0 is background) and classes.txt
  parquet    the rows with their images, as datasets.load_dataset reads them
  The class is the --label, or else the query. An image with a failed pair, or with an answer that
  could not be parsed, is left out: otherwise the set would claim that it has no object.

"""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Raises InputError for arguments that exclude each other."""
    words = _parser().parse_args(arguments)
    if len(words.label) not in (0, len(words.query)):
        raise InputError("Give a --label for each --query, in their order, or none")
    _check_exports(words)
    if words.bad is None:
        words.bad = words.output.with_name(f"{words.output.stem}.bad.jsonl")
    return words


@contextmanager
def inputs_of(words: argparse.Namespace) -> Iterator[Inputs]:
    """The inputs; raises InputError if one is missing or cannot be read."""
    labels = words.label or [""] * len(words.query)
    columns = Columns(words.image_column, words.query_column, words.label_column, words.name_column)
    asked = Asked(tuple(zip(words.query, labels, strict=True)))
    with read(words.input, How(asked, words.image_root, columns), sys.stdin.buffer) as inputs:
        yield inputs


def writes_parquet(words: argparse.Namespace) -> bool:
    """Whether the output is a folder of Parquet files."""
    output: Path = words.output
    return output.is_dir() or (output.suffix in ("", ".parquet") and not output.is_file())


def export_folders(words: argparse.Namespace) -> dict[str, Path]:
    """The folder of each format of --export."""
    output: Path = words.output
    stem = output.stem if output.suffix in (".jsonl", ".parquet") else output.name
    return {
        form: words.export_to or output.with_name(f"{stem}.{form}")
        for form in dict.fromkeys(words.export)
    }


def _check_exports(words: argparse.Namespace) -> None:
    if words.export_to and len(set(words.export)) != 1:
        raise InputError("--export-to names the folder of one --export")
    for folder in export_folders(words).values():
        check_free(folder)
        above = folder.resolve().parents
        if any(Path(one).resolve() in above for one in words.input if one != "-"):
            raise InputError(f"{folder} is inside an input: give another folder with --export-to")


def _parser() -> argparse.ArgumentParser:
    made = parser("wise-segment batch", _DESCRIPTION, _EPILOG)
    made.add_argument(
        "input", metavar="INPUT", nargs="+", help="folder or file of images; see below"
    )
    made.add_argument(
        "--query",
        metavar="TEXT",
        action="append",
        default=[],
        help="query for every image; may be given several times",
    )
    made.add_argument(
        "--label",
        metavar="NAME",
        action="append",
        default=[],
        help="class of the objects of a --query, for training sets (default: the query)",
    )
    made.add_argument(
        "--image-root", type=Path, metavar="DIR", help="folder to which images' paths are relative"
    )
    columns = made.add_argument_group("columns of Parquet inputs")
    columns.add_argument("--image-column", metavar="NAME", default="image", help="(default: image)")
    columns.add_argument("--query-column", metavar="NAME", help="(default: query, or else text)")
    columns.add_argument("--label-column", metavar="NAME", help="(default: label, if it is there)")
    columns.add_argument(
        "--name-column", metavar="NAME", help="column with an image's name (default: file:row)"
    )
    _add_outputs(made)
    return made


def _add_outputs(made: argparse.ArgumentParser) -> None:
    out = made.add_argument_group("output")
    out.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="PATH",
        help="a folder, or a .jsonl file",
    )
    out.add_argument(
        "--bad",
        type=Path,
        metavar="JSONL",
        help="pairs that failed, with the reason (default: the output's name and .bad.jsonl)",
    )
    out.add_argument(
        "--rows-per-part",
        type=positive_int,
        metavar="N",
        help="rows of one Parquet file (default: 10000)",
    )
    out.add_argument("--coco", type=Path, metavar="JSON", help="write a COCO annotation file alone")
    _add_exports(made)
    add_concurrency(made)
    made.add_argument("--no-progress", action="store_true", help="no progress bar")


def _add_exports(made: argparse.ArgumentParser) -> None:
    sets = made.add_argument_group("training sets")
    sets.add_argument(
        "--export",
        action="append",
        default=[],
        choices=FORMATS,
        help="when all pairs have answers, also write a data set; may be given several times",
    )
    sets.add_argument(
        "--export-to",
        type=Path,
        metavar="DIR",
        help="its folder (default: the output's name and .FORMAT)",
    )
    sets.add_argument(
        "--val-share",
        type=share,
        default=0.1,
        metavar="SHARE",
        help="yolo-seg: approximate share of the images for val (default: %(default)g)",
    )
