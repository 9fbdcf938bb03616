"""`wise-segment refine IMAGE`: masks of a box and clicks, without a question."""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from wise_client.cli.common import FOUND, add_hint, check_writable, client_of, parser
from wise_client.errors import WiseClientError

_DESCRIPTION = """\
Make masks from a box and points, without a query. Coordinates are pixels of the image.

  wise-segment refine photo.jpg --box 120,80,310,402 --mask cup.png
  wise-segment refine photo.jpg --add 200,190 --remove 250,300 --json
"""


def main(arguments: Sequence[str]) -> int:
    """Run `wise-segment refine`; gives the exit status. Raises WiseClientError."""
    options = _parser().parse_args(arguments)
    check_writable(options.mask)
    points = [(*point, 1) for point in options.add] + [(*point, 0) for point in options.remove]
    with client_of(options) as client:
        try:
            result = client.refine(
                Path(options.image),
                box=options.box,
                points=points,
                multimask=True if options.multimask else None,
                max_side_pixels=options.max_side_pixels,
            )
        except WiseClientError as error:
            add_hint(error, client.base_url)
            raise
    if options.mask is not None:
        result.save_mask(options.mask)
    if options.json:
        print(json.dumps(result.to_dict()))
        return FOUND
    instance = result.instances[0]
    for number, one in enumerate((instance, *instance.alternatives), start=1):
        print(f"{number}. score {one.score:.2f}, {one.area} pixels")
    return FOUND


def _parser() -> argparse.ArgumentParser:
    made = parser("wise-segment refine", _DESCRIPTION, asks=False)
    made.add_argument("image", metavar="IMAGE", help="image file")
    made.add_argument(
        "--box", type=_numbers(4), metavar="X1,Y1,X2,Y2", help="a box around the object"
    )
    for name, text in (("add", "a point on the object"), ("remove", "a point off the object")):
        made.add_argument(
            f"--{name}",
            type=_numbers(2),
            action="append",
            default=[],
            metavar="X,Y",
            help=f"{text}; may be given several times",
        )
    made.add_argument("--multimask", action="store_true", help="all three of SAM 2's masks")
    made.add_argument("--json", action="store_true", help="print the answer as JSON")
    made.add_argument("--mask", type=Path, metavar="PNG", help="write the mask, 255 on the object")
    return made


def _numbers(count: int) -> Callable[[str], tuple[float, ...]]:
    def read(text: str) -> tuple[float, ...]:
        values = tuple(float(part) for part in text.split(","))
        if len(values) != count:
            raise argparse.ArgumentTypeError(f"{text} is not {count} numbers joined by commas")
        return values

    return read
