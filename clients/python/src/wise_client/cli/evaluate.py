"""`wise-segment eval`: a labelled dataset through a running server, and one table."""

import argparse
import json
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from wise_client import extras
from wise_client.cli.common import (
    FOUND,
    GATE,
    PARTIAL,
    add_concurrency,
    add_hint,
    check_strategies,
    check_writable,
    client_of,
    parser,
    positive_int,
    say,
    strategy_name,
)
from wise_client.cli.failures import Failures
from wise_client.client import Client
from wise_client.errors import InputError, WiseClientError
from wise_client.eval import figures, frontier, gate, html, report, table
from wise_client.eval.datasets import FORMATS, read
from wise_client.eval.runner import Options, StrategyRun, run
from wise_client.eval.samples import Dataset

_DESCRIPTION = """\
Send a labelled dataset to the server, and print gIoU, cIoU, tokens, latency and throughput, for
several strategies side by side.

  wise-segment eval ReasonSeg --split val
  wise-segment eval ReasonSeg_val --strategy seg-zero,wise-s --html report.html --output answers
  wise-segment eval photos --strategies-of-server --picture choice.svg
  wise-segment eval photos --limit 50 --fail-below 'gIoU=0.6,tokens<30'
"""
_EPILOG = """\
datasets (recognised by their files; --format sets the format):
  reasonseg  a folder of name.jpg with name.json ("text", "shapes"), as published
  parquet    a file or folder; columns image, text, mask, image_id, ann_id, img_height, img_width
  refcoco    a folder with refs(...).p (or as JSON) and instances.json; --split val, testA...
  coco       instances JSON with a "query" in each annotation
  folder     name.jpg, name.mask.png (or name.png; not 0 on the object) and name.txt, the query

limits of --fail-below, separated by commas; every strategy must meet all of them:
  FIGURE>=X, >, <=, <, or FIGURE=X: "at least" if high is good, otherwise "at most"
  figures: {figures}
  IoUs and rates are fractions: gIoU=0.6 and gIoU=60% are the same; "tokens" are thinking
  tokens; tokens, completion_tokens and latency_ms are means

--output makes the run resumable: a second run with the same folder sends only missing and failed
pairs. Throughput then counts only this run's answers.

reasonseg, parquet and --html need more packages: pip install 'wise-client[eval]'

"""


def main(arguments: Sequence[str]) -> int:
    """Run `wise-segment eval`; gives the exit status. Raises WiseClientError."""
    options = _parser().parse_args(arguments)
    limits = gate.limits(options.fail_below) if options.fail_below else ()
    _check_outputs(options)
    dataset = read(options.dataset, options.format, options.split, options.images)
    dataset = dataset.limited(options.limit)
    with client_of(options, options.concurrency) as client:
        try:
            strategies = _strategies_of(client, options)
        except WiseClientError as error:
            add_hint(error, client.base_url)
            raise
        if options.warm_up:
            _warm_up(client, dataset, strategies[0], options)
        runs = [_run(client, dataset, strategy, options) for strategy in strategies]
    _write(dataset, runs, options)
    return _verdict(runs, limits)


def _strategies_of(client: Client, options: argparse.Namespace) -> tuple[str, ...]:
    """Those of the command; else all that the server offers, or its default one."""
    info = client.info()
    if options.strategy:
        check_strategies(info, options.strategy)
        return tuple(options.strategy)
    names = info["strategies"] if options.strategies_of_server else [info["strategy"]]
    if not names:
        raise InputError(f"The server at {client.base_url} offers no strategy")
    try:
        return tuple(strategy_name(str(name)) for name in names)  # they name files of --output
    except argparse.ArgumentTypeError as error:
        raise InputError(f"The server at {client.base_url} offers what {error}") from None


def _parser() -> argparse.ArgumentParser:
    names = textwrap.fill(", ".join(gate.FIGURES), 80, subsequent_indent=" " * 11)
    epilog = _EPILOG.format(figures=names)
    made = parser("wise-segment eval", _DESCRIPTION, epilog, strategies=True)
    made.add_argument("dataset", type=Path, metavar="DATASET", help="a folder or file, see below")
    _add_dataset(made)
    _add_run(made)
    _add_report(made)
    return made


def _add_dataset(made: argparse.ArgumentParser) -> None:
    data = made.add_argument_group("dataset")
    data.add_argument("--format", choices=FORMATS, help="default: recognised by the files")
    data.add_argument("--split", metavar="NAME", help="a part of the dataset, such as val or testA")
    data.add_argument(
        "--images", type=Path, metavar="DIR", help="coco, refcoco: the images' folder"
    )
    data.add_argument("--limit", type=positive_int, metavar="N", help="the first N samples only")


def _add_run(made: argparse.ArgumentParser) -> None:
    work = made.add_argument_group("run")
    add_concurrency(work)
    work.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="store answers here, one file per strategy"
    )
    work.add_argument(
        "--warm-up",
        action="store_true",
        help="first send all samples once without counting them: every strategy then finds the "
        "same images in the server's caches, and latencies can be compared",
    )
    work.add_argument("--no-progress", action="store_true", help="no progress bar")


def _add_report(made: argparse.ArgumentParser) -> None:
    told = made.add_argument_group("report")
    told.add_argument("--json", type=Path, metavar="FILE", help="figures and scores; - prints them")
    told.add_argument("--csv", type=Path, metavar="FILE", help="the figures; - prints them")
    told.add_argument("--html", type=Path, metavar="FILE", help="a page with figures and pictures")
    told.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        help="SVG of accuracy against tokens and latency, for several strategies",
    )
    told.add_argument(
        "--worst",
        type=positive_int,
        default=12,
        metavar="N",
        help="pictures of the N worst answers per strategy, in --html (default: %(default)s)",
    )
    told.add_argument("--fail-below", metavar="LIMITS", help="exit with 8 if a limit is not met")


def _check_outputs(options: argparse.Namespace) -> None:
    files = (options.json, options.csv, options.html, options.picture)
    check_writable(*(path for path in files if path != Path("-")))
    if Path("-") in (options.html, options.picture):
        raise InputError("--html and --picture need the name of a file")
    if options.html is not None:
        html.check_installed()
    if options.picture is not None:
        extras.matplotlib()
    if Path("-") == options.json == options.csv:
        raise InputError("--json - and --csv - cannot both be printed; name a file for one")
    if options.output is not None:
        if options.output.exists() and not options.output.is_dir():
            raise InputError(f"{options.output} is a file; --output names a folder")
        options.output.mkdir(parents=True, exist_ok=True)


def _warm_up(client: Client, dataset: Dataset, strategy: str, options: argparse.Namespace) -> None:
    """Send every sample once without counting it, so that the server's caches have the same images
    for every strategy. Failures occur again in the following runs, and are counted there."""
    say(f"warm-up: {len(dataset)} samples, not counted")
    sent = Options(
        concurrency=options.concurrency,
        progress=not options.no_progress,
        max_instances=options.max_instances,
        max_side_pixels=options.max_side_pixels,
    )
    failures = Failures(min(options.concurrency, len(dataset)), client.base_url, "--json FILE")
    run(client, dataset, strategy, sent, failures.saw)


def _run(
    client: Client, dataset: Dataset, strategy: str, options: argparse.Namespace
) -> StrategyRun:
    say(f"{strategy}: {len(dataset)} samples of {dataset.name} ({dataset.format})")
    limit = min(options.concurrency, len(dataset))
    failures = Failures(limit, client.base_url, "--json FILE")
    asked = Options(
        concurrency=options.concurrency,
        output=options.output,
        progress=not options.no_progress,
        max_instances=options.max_instances,
        max_side_pixels=options.max_side_pixels,
        worst=options.worst if options.html else 0,
    )
    made = run(client, dataset, strategy, asked, failures.saw)
    if len(made.models) > 1:
        say(f"{strategy}: answers of {len(made.models)} pairs of models are mixed in this output")
    return made


def _write(dataset: Dataset, runs: Sequence[StrategyRun], options: argparse.Namespace) -> None:
    summaries = [one.summary for one in runs]
    printed = Path("-") in (options.json, options.csv)
    console = Console(stderr=printed)
    console.print(table.on_screen(summaries, f"{dataset.name}, {len(dataset)} samples"))
    if (verdict := frontier.verdict(runs)) is not None:
        console.print(verdict.sentence(runs), highlight=False)
    if options.json is not None:
        _put(options.json, json.dumps(report.document(dataset, runs), indent=1) + "\n")
    if options.csv is not None:
        _put(options.csv, table.as_csv(summaries))
    if options.html is not None:
        _put(options.html, html.page(dataset, runs))
    if options.picture is not None:
        _put(options.picture, figures.choice(runs))


def _put(path: Path, text: str) -> None:
    if path == Path("-"):
        sys.stdout.write(text)
    else:
        path.write_text(text, "utf-8")
        say(f"written: {path}")


def _verdict(runs: Sequence[StrategyRun], limits: Sequence[gate.Limit]) -> int:
    broken = gate.broken(limits, [one.summary for one in runs])
    for line in broken:
        say(f"limit not met: {line}")
    if broken:
        return GATE
    failed = sum(len(one.failures) for one in runs)
    if failed:
        say(f"{failed} pairs failed and are not scored")
    return PARTIAL if failed else FOUND
