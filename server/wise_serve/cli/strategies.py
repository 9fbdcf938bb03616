"""`wise-serve strategies`: list strategies, check a file, show what a strategy does."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wise_serve.cli.flags import add_flag, settings_from
from wise_serve.reasoner.answer import Frame, read_answer
from wise_serve.reasoner.strategies.files import (
    StrategyError,
    read_file,
    read_shipped,
    shipped_names,
)
from wise_serve.reasoner.strategies.images import frame_size, view_of
from wise_serve.reasoner.strategies.pixels import PixelLimits, limits_of, misfits
from wise_serve.reasoner.strategies.strategy import Strategy
from wise_serve.settings import Settings

_ABOUT = """Strategies say how a checkpoint is asked and how its answer is read. They are JSON files
(docs/strategies.md); several come with the package."""
_EXAMPLES = """examples:
  wise-serve strategies list
  wise-serve strategies check mine.json --reasoner /models/mine
  wise-serve strategies show mine.json --query "the red cup"
  wise-serve strategies show qwen3-vl --query cup --answer '[{"bbox_2d": [0, 0, 500, 1000]}]'"""


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands `list`, `check` and `show`."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    commands.add_parser("list", help="list the strategies that come with the package")
    check = commands.add_parser("check", help="report every mistake in strategy files")
    check.add_argument("files", nargs="+", type=Path, metavar="FILE")
    check.add_argument(
        "--reasoner",
        metavar="NAME",
        default=argparse.SUPPRESS,
        help="also check whether the strategies fit this checkpoint's preprocessor: a folder, or a "
        "hub name whose files are on this machine",
    )
    show = commands.add_parser("show", help="show the prompt, and how an answer is read")
    show.add_argument("name", metavar="NAME", help="a name from `list`, or a file")
    show.add_argument("--query", default="the red cup", help="default: %(default)s")
    show.add_argument("--answer", help="a generated text; default: the example in the prompt")
    show.add_argument(
        "--image-size",
        type=_size,
        default=(640, 480),
        metavar="WxH",
        help="width and height of the image, pixels (default: 640x480)",
    )
    add_flag(show, "reasoner_lora")
    parser.description, parser.epilog = _ABOUT, _EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def run(parser: argparse.ArgumentParser, given: dict[str, Any]) -> int:
    """Run the command; returns the exit status. parser: prints the error of a wrong setting."""
    if given["action"] == "list":
        return _list()
    if given["action"] == "check":
        return _check_all(
            given["files"], settings_from(parser, given) if "reasoner" in given else None
        )
    settings = settings_from(parser, given)
    try:
        strategy = _named(given["name"])
    except StrategyError as error:
        print(error, file=sys.stderr)
        return 1
    print(_shown(strategy, given["query"], given["answer"], given["image_size"]))
    if strategy.lora is not None:
        print(f"\n--- adapter (LoRA)\n{_adapter(strategy.lora, settings)}")
    return 0


def _list() -> int:
    names = shipped_names()
    width = max(map(len, names))
    for name in names:
        print(f"{name:{width}}  {read_shipped(name).description}")
    return 0


def _check_all(files: Sequence[Path], settings: Settings | None) -> int:
    """settings: those of the reasoner that the strategies must fit; None if no reasoner is
    given."""
    limits = side = None
    if settings is not None:
        limits, side = limits_of(settings.reasoner_checkpoint), settings.reasoner_square_pixels
        if limits is None:
            where = settings.reasoner_checkpoint
            print(f"{where}: no preprocessor_config.json of its form here", file=sys.stderr)
            return 1
    return max(_check(file, limits, side) for file in files)


def _check(file: Path, limits: PixelLimits | None, side: int | None) -> int:
    try:
        strategy = read_file(file)
        if limits and (mistakes := misfits(strategy, limits, side)):
            raise StrategyError(str(file), mistakes)
    except StrategyError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{file}: a valid strategy, {strategy.name!r}")
    return 0


def _named(name: str) -> Strategy:
    if name in shipped_names():
        return read_shipped(name)
    if not Path(name).exists():
        known = ", ".join(shipped_names())
        raise StrategyError(name, [f"neither a file nor a strategy of the package ({known})"])
    return read_file(Path(name))


def _shown(strategy: Strategy, query: str, answer: str | None, size: tuple[int, int]) -> str:
    view = view_of(strategy, size)
    ranges = frame_size(strategy, view.size)
    text = _generated(strategy) if answer is None else answer
    where = (
        f"x is written from 0 to {ranges[0]:g}, y from 0 to {ranges[1]:g}; both are read as pixels "
        f"of an image of {size[0]} x {size[1]}"
    )
    sections = [
        ("system", strategy.turn.system or "(the one in the checkpoint's chat template)"),
        ("user", f"(image, {view.size[0]} x {view.size[1]} pixels)\n{strategy.prompt(query)}"),
        ("coordinates", where),
        ("an answer", text or "(the prompt shows no example: give one with --answer)"),
    ]
    if text:
        sections.append(("is read as", _read(text, strategy, Frame(*size, *ranges))))
    return "\n\n".join(f"--- {title}\n{content}" for title, content in sections)


def _read(text: str, strategy: Strategy, frame: Frame) -> str:
    """The status, and a line for each object."""
    read = read_answer(text, "stop", strategy, frame)
    found = [
        {"box": one.box, "points": one.points} | ({"labels": one.labels} if one.labels else {})
        for one in read.instances
    ]
    return f"status {read.status}" + "".join(f"\n{json.dumps(one)}" for one in found)


def _adapter(name: str, settings: Settings) -> str:
    """Where the adapter is, or that a server would not have it."""
    if name in settings.adapters:
        return f"{name}: {settings.adapters[name]}"
    given = ", ".join(settings.adapters) or "none"
    return (
        f"{name}, which is not given (given: {given}): serve with --reasoner-lora {name}=FOLDER, "
        "or the server does not start"
    )


def _generated(strategy: Strategy) -> str:
    """The prompt's example as the checkpoint would write it."""
    if not strategy.example or not strategy.tagged:
        return strategy.example
    return f"<think>...</think><answer>{strategy.example}</answer>"


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: write it as 640x480")
    return int(width), int(height)
