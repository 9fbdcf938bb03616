"""Writes the miniature's table in docs/evaluation.md: all four strategies on held-out scenes.

Draws scenes that were not in training to a folder, runs the client's evaluation on it, and replaces
the marked region of the page. Each strategy gets its own server, so that no images are in its
caches (with --url all strategies use that server). Prints one JSON line last.
"""

import argparse
import json
import os
import platform
import re
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from quality import fresh_scenes
from running import running_server
from wise_client import Client, Strategy
from wise_client.eval import datasets, runner, table
from wise_client.eval.samples import Dataset
from wise_client.eval.scores import Scored

# The first is what the others' ratios are to, as in the paper.
STRATEGIES: tuple[Strategy, ...] = ("seg-zero", "vision-reasoner", "wise", "wise-s")
DOCUMENT = Path(__file__).parents[1] / "docs" / "evaluation.md"
BEGIN, END = "<!-- miniature: begin -->", "<!-- miniature: end -->"


def write_scenes(folder: Path, count: int, seed: int) -> None:
    """`count` scenes as name.png, name.mask.png and name.txt; an absent target's mask is empty."""
    for index, (scene, query) in enumerate(fresh_scenes(count, seed)):
        truth = np.zeros((scene.image.height, scene.image.width), bool)
        for target in query.targets:
            truth |= scene.shapes[target].mask
        scene.image.save(folder / f"{index:04}.png")
        Image.fromarray(truth).save(folder / f"{index:04}.mask.png")
        (folder / f"{index:04}.txt").write_text(query.text, "utf-8")


def measure(
    dataset: Dataset, strategy: Strategy, url: str | None, concurrency: int
) -> runner.StrategyRun:
    """Raises RuntimeError if a pair failed, so that no incomplete table is written."""
    with ExitStack() as stack:
        address = url or stack.enter_context(running_server()).url
        client = stack.enter_context(Client(address, max_connections=concurrency))
        options = runner.Options(concurrency=concurrency, progress=True)
        made = runner.run(client, dataset, strategy, options)
    if made.failures:
        first = made.failures[0]
        raise RuntimeError(f"{len(made.failures)} pairs failed; {first.name}: {first.error}")
    return made


def region(runs: Sequence[runner.StrategyRun], scenes: int, seed: int, concurrency: int) -> str:
    """The text between the marks: how it was measured, the table, one scene's rationales."""
    models = sorted({name for run in runs for pair in run.models for name in pair})
    how = (
        f"{scenes} scenes (seed {seed}), {concurrency} requests at once, {', '.join(models)}; "
        f"{os.cpu_count()} CPU cores, {platform.machine()}, no GPU."
    )
    parts = [how, "", table.as_markdown([run.summary for run in runs])]
    example = _example(runs)
    if example:
        parts += [
            f"One of the scenes, asked for “{example[0].query}”:",
            "",
            "| strategy | thinking tokens | completion tokens | rationale |\n|---|---:|---:|---|\n"
            + "".join(
                f"| {run.strategy} | {one.thinking_tokens} | {one.completion_tokens} "
                f"| {_cell(one.reasoning)} |\n"
                for run, one in zip(runs, example, strict=True)
            ),
        ]
    return "\n".join(parts)


def rewritten(document: str, text: str) -> str:
    """The document with `text` between the marks. Raises ValueError if a mark is missing."""
    found = re.search(f"{re.escape(BEGIN)}\n.*?{re.escape(END)}", document, re.S)
    if found is None:
        raise ValueError(f"The document has no {BEGIN} with {END} after it")
    return f"{document[: found.start()]}{BEGIN}\n{text}{END}{document[found.end() :]}"


def _example(runs: Sequence[runner.StrategyRun]) -> tuple[Scored, ...] | None:
    """The first scene in which every strategy found something."""
    rows = zip(*(run.scored for run in runs), strict=True)
    return next((row for row in rows if all(one.status == "found" for one in row)), None)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--scenes", type=int, default=200, help="how many (default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="another draw of scenes (default: 1)")
    parser.add_argument("--concurrency", type=int, default=4, help="requests at once (default: 4)")
    parser.add_argument("--url", help="a running server; by default one a strategy is started")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help=f"default: {DOCUMENT.name}")
    args = parser.parse_args(arguments)
    before = args.document.read_text("utf-8")
    rewritten(before, "")  # an error here is better than after the work
    with tempfile.TemporaryDirectory() as folder:
        write_scenes(Path(folder), args.scenes, args.seed)
        dataset = datasets.read(Path(folder))
        runs = [measure(dataset, name, args.url, args.concurrency) for name in STRATEGIES]
    text = region(runs, args.scenes, args.seed, args.concurrency)
    args.document.write_text(rewritten(before, text), "utf-8")
    print(text)
    print(json.dumps({"scenes": args.scenes, "strategies": [asdict(run.summary) for run in runs]}))


if __name__ == "__main__":
    main()
