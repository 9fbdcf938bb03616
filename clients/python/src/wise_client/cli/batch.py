"""`wise-segment batch`: many pairs, into a JSONL file that can be resumed."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wise_client.answers import read_records
from wise_client.cli.common import (
    FOUND,
    PARTIAL,
    check_writable,
    client_of,
    parser,
    positive_int,
    say,
)
from wise_client.cli.failures import Failures
from wise_client.errors import InputError
from wise_client.export import coco
from wise_client.results import Segmentation

_DESCRIPTION = """\
Ask about many images. Every answer is appended to the output file as it comes; a run that was
stopped or killed goes on where it was when it is started again with the same arguments.

  wise-segment batch pairs.jsonl -o out.jsonl
  wise-segment batch photos/ --query "the cup" -o out.jsonl --coco out.json
  make-pairs | wise-segment batch - -o out.jsonl
"""
_EPILOG = """\
input, one pair a line; paths are relative to the file's folder (--image-root changes that):
  {"image": "photo.jpg", "query": "the cup she could drink from"}

output, one pair a line, in the input's order once the run is complete:
  {"index": 0, "image": "...", "query": "...", "options": {}, "response": {...}}
  or, for a pair that failed, "error": {"code", "detail", "status", "request_id"}

"""
_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


@dataclass(frozen=True)
class Pairs:
    """What is asked: (path, query) pairs, and the folder that image names are relative to."""

    pairs: list[tuple[Path, str]]
    root: Path

    def name(self, path: str) -> str:
        """An image's name in the COCO file."""
        relative = Path(path)
        return str(
            relative.relative_to(self.root) if relative.is_relative_to(self.root) else relative
        )


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    check_writable(options.output, options.coco)
    asked = _pairs(options)
    failures = _run(asked, options)
    if options.coco is not None:
        _write_coco(asked, options)
    say(f"{len(asked.pairs) - failures} of {len(asked.pairs)} pairs answered: {options.output}")
    return PARTIAL if failures else FOUND


def _parser() -> argparse.ArgumentParser:
    made = parser("wise-segment batch", _DESCRIPTION, _EPILOG)
    made.add_argument("input", metavar="PAIRS", help="a JSONL file, - for standard input, a folder")
    made.add_argument("-o", "--output", type=Path, required=True, metavar="JSONL", help="answers")
    made.add_argument("--query", metavar="TEXT", help="the query, with a folder")
    made.add_argument("--image-root", type=Path, metavar="DIR", help="where image names start")
    made.add_argument("--coco", type=Path, metavar="JSON", help="write a COCO annotation file")
    made.add_argument(
        "--concurrency",
        type=positive_int,
        default=8,
        metavar="N",
        help="requests at once (default: %(default)s)",
    )
    made.add_argument("--no-progress", action="store_true", help="no progress bar")
    return made


def _pairs(options: argparse.Namespace) -> Pairs:
    if options.input == "-":
        root = options.image_root or Path()
        return Pairs(_parsed(sys.stdin.buffer, "standard input", root, options.query), root)
    path = Path(options.input)
    if path.is_dir():
        if options.query is None:
            raise InputError(f"{path} is a folder: give --query, what to look for in each image")
        images = sorted(one for one in path.iterdir() if one.suffix.lower() in _IMAGE_SUFFIXES)
        if not images:
            raise InputError(f"There is no image in {path}")
        return Pairs([(image, options.query) for image in images], path)
    root = options.image_root or path.parent
    try:
        with path.open("rb") as lines:
            return Pairs(_parsed(lines, str(path), root, options.query), root)
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}") from error


def _parsed(
    lines: Iterable[bytes], name: str, root: Path, query: str | None
) -> list[tuple[Path, str]]:
    """All lines are read before anything is sent, so that a bad one costs nothing."""
    pairs = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            pair = json.loads(line)
        except ValueError as error:
            raise InputError(f"{name} line {number} is not JSON: {error}") from error
        given = pair if isinstance(pair, dict) else {}
        image, text = given.get("image"), given.get("query", query)
        if not (isinstance(image, str) and image and isinstance(text, str)):
            raise InputError(
                f'{name} line {number} should be {{"image": "a path", "query": "a sentence"}}'
            )
        pairs.append((root / image, text))
    if not pairs:
        raise InputError(f"There is no pair in {name}")
    return pairs


def _run(asked: Pairs, options: argparse.Namespace) -> int:
    """Ask; gives the number of failures. Stops when the server is gone, as all would fail."""
    with client_of(options, options.concurrency) as client:
        limit = min(options.concurrency, len(asked.pairs))
        failures = Failures(limit, client.base_url, "the output file")
        for outcome in client.segment_many(
            asked.pairs,
            concurrency=options.concurrency,
            output=options.output,
            progress=not options.no_progress,
            strategy=options.strategy,
            max_instances=options.max_instances,
            max_side_pixels=options.max_side_pixels,
        ):
            image = asked.pairs[outcome.index][0]
            failures.saw(f"pair {outcome.index}, {image}", outcome.error)
    return failures.count


def _write_coco(asked: Pairs, options: argparse.Namespace) -> None:
    def answered() -> Iterable[tuple[str, Segmentation]]:
        for record in read_records(options.output):
            if "response" in record:
                result = Segmentation.from_dict(record["response"], query=record["query"])
                yield asked.name(record["image"]), result

    options.coco.write_text(json.dumps(coco(answered())), "utf-8")
