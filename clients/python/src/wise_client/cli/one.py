"""`wise-segment IMAGE QUERY`: one question about one image."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from wise_client.cli.common import FOUND, NOTHING, add_hint, check_writable, client_of, parser, say
from wise_client.client import Client
from wise_client.errors import InputError, WiseClientError
from wise_client.events import Done, ThinkingDelta
from wise_client.results import Segmentation

_DESCRIPTION = """\
Ask which pixels of an image a sentence describes. Prints the answer, and writes an overlay
next to the image.

  wise-segment photo.jpg "the cup she could drink from"
  wise-segment photo.jpg "the cup" --json --no-overlay | jq .instances[0].box
  cat photo.jpg | wise-segment - "the cup" --mask cup.png

Clicks and boxes in place of a sentence: wise-segment refine --help
Many images: wise-segment batch --help
A labelled dataset: wise-segment eval --help
In Label Studio: wise-segment label-studio --help
"""


def main(arguments: Sequence[str]) -> int:
    """Run `wise-segment` on one image with these arguments; gives the exit status.

    Raises WiseClientError.
    """
    options = _parser().parse_args(arguments)
    if options.image in ("batch", "eval", "label-studio"):
        raise InputError(
            f"Put the command first: wise-segment {options.image} ... "
            f"(or name the file ./{options.image})"
        )
    source = _source(options.image)
    overlay = _overlay_path(options)
    check_writable(options.mask, options.coco, overlay)
    client = client_of(options)
    with client:
        try:
            result = (_streamed if options.stream else _whole)(client, source, options)
        except WiseClientError as error:
            add_hint(error, client.base_url)
            raise
    _report(result, options, overlay)
    return FOUND if result.instances else NOTHING


def _parser() -> argparse.ArgumentParser:
    made = parser("wise-segment", _DESCRIPTION)
    made.add_argument("image", metavar="IMAGE", help="image file; - reads it from standard input")
    made.add_argument("query", metavar="QUERY", help="what to look for, in a sentence")
    out = made.add_argument_group("output")
    out.add_argument("--json", action="store_true", help="print only the answer, as JSON")
    out.add_argument(
        "--stream", action="store_true", help="print the rationale while it is generated"
    )
    out.add_argument("--mask", type=Path, metavar="PNG", help="write the mask, 255 on the object")
    out.add_argument("--coco", type=Path, metavar="JSON", help="write a COCO annotation file")
    out.add_argument(
        "--overlay",
        type=Path,
        metavar="PNG",
        help="file of the overlay (default: IMAGE's name.overlay.png)",
    )
    out.add_argument("--no-overlay", action="store_true", help="write no overlay")
    return made


def _source(name: str) -> Path | bytes:
    if name != "-":
        if Path(name).is_dir():
            raise InputError(f"{name} is a folder; for its images: wise-segment batch --help")
        return Path(name)
    content = sys.stdin.buffer.read()
    if not content:
        raise InputError("Standard input is empty; IMAGE - reads an image from it")
    return content


def _overlay_path(options: argparse.Namespace) -> Path | None:
    if options.no_overlay:
        return None
    if options.overlay is not None:
        path: Path = options.overlay
        if path.suffix.lower() not in Image.registered_extensions():
            raise InputError(f"--overlay {path}: the name should end in .png, .jpg or .webp")
        return path
    if options.image == "-":
        return Path("stdin.overlay.png")
    return Path(options.image).with_suffix(".overlay.png")


def _whole(client: Client, source: Path | bytes, options: argparse.Namespace) -> Segmentation:
    return client.segment(
        source,
        options.query,
        strategy=options.strategy,
        max_instances=options.max_instances,
        max_side_pixels=options.max_side_pixels,
    )


def _streamed(client: Client, source: Path | bytes, options: argparse.Namespace) -> Segmentation:
    """Thinking goes to standard error where standard output is to be JSON."""
    out = sys.stderr if options.json else sys.stdout
    result = None
    for event in client.stream(
        source,
        options.query,
        strategy=options.strategy,
        max_instances=options.max_instances,
        max_side_pixels=options.max_side_pixels,
    ):
        if isinstance(event, ThinkingDelta):
            print(event.text, end="", file=out, flush=True)
        elif isinstance(event, Done):
            result = event.result
    print(file=out)
    assert result is not None  # a stream without it raises ConnectionLostError
    return result


def _report(result: Segmentation, options: argparse.Namespace, overlay: Path | None) -> None:
    if options.json:
        print(json.dumps(result.to_dict()))
    else:
        print(describe(result, "standard input" if options.image == "-" else options.image))
    written = []
    if options.mask is not None:
        written.append(("mask", result.save_mask(options.mask)))
    if options.coco is not None:
        name = "stdin" if options.image == "-" else Path(options.image).name
        options.coco.write_text(json.dumps(result.to_coco(name)), "utf-8")
        written.append(("coco", options.coco))
    if overlay is not None and result.instances:
        written.append(("overlay", result.save(overlay)))
    for what, path in written:
        if options.json:
            say(f"{what}: {path}")
        else:
            print(f"{what}: {path}")


def describe(result: Segmentation, name: str) -> str:
    """The answer in a few lines."""
    count = "1 object" if len(result.instances) == 1 else f"{len(result.instances)} objects"
    heads = {
        "found": count,
        "no_target": "the image has no such object (no_target)",
        "unparsed": "the model gave no valid answer (unparsed)",
        "truncated": "the model reached its token limit before its answer (truncated)",
    }
    width, height = result.size
    lines = [f"{name}, {width} x {height}: {heads.get(result.status, result.status)}"]
    for number, one in enumerate(result.instances, start=1):
        box = ", ".join(f"{value:g}" for value in one.box)
        points = " ".join(
            f"({x:g}, {y:g})" + ("" if label else " off it")
            for (x, y), label in zip(one.points, one.labels, strict=True)
        )
        lines.append(f"  {number}. box ({box})  points {points}")
        lines.append(f"     score {one.score:.2f}, {one.area} pixels")
    usage, timing = result.usage, result.timing
    lines.append(f"reasoning: {result.reasoning}")
    lines.append(
        f"tokens: {usage.thinking_tokens} thinking, {usage.completion_tokens} generated, "
        f"{usage.prompt_tokens} prompt ({usage.cached_tokens} cached)"
    )
    lines.append(
        f"time: {timing.total_ms:.0f} ms (reason {timing.reason_ms:.0f}, "
        f"encode {timing.encode_ms:.0f}, segment {timing.segment_ms:.0f})"
    )
    return "\n".join(lines)
