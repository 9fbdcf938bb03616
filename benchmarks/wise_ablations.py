"""WISE in miniature, measured: the checkpoints of runs/wise through the server, held-out scenes.

Each checkpoint gets its own server (`wise-serve serve --reasoner FOLDER`) and is evaluated by the
client with the prompt of `wise`; the one trained with distillation also with that of `wise-s`.
Writes the table and the picture of docs/wise-in-miniature.md, and prints one JSON line last. A
missing checkpoint is skipped, and the page names it.
"""

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot
from PIL import Image

from miniature_eval import rewritten
from quality import fresh_scenes
from running import running_server
from wise.curves import compare_objectives, draw_objectives
from wise.start import FAMILIES
from wise_client import Client, Strategy
from wise_client.eval import datasets, runner, table
from wise_client.eval.samples import Dataset
from wise_client.eval.scores import Summary
from wise_serve.miniature import REASONER_IMAGE_SIZE

TRAINED = (
    "In training; means over the first ten steps and over the last ten, sampled at temperature 1:"
)
DOCS = Path(__file__).parents[1] / "docs"
# What the packaged miniature has by its name.
AS_PACKAGED = (
    "--reasoner-image-size-pixels", str(REASONER_IMAGE_SIZE),
    "--engine-args", '{"dtype": "float32", "max_model_len": 2048}',
)  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """A row of the table: a folder of `runs/wise`, and the strategies with which it is asked."""

    name: str
    folder: str
    strategies: tuple[Strategy, ...] = ("wise",)


START = Checkpoint("start", "start")  # what the others were trained from
# The first is what the others' ratios are to.
CHECKPOINTS = (
    START,
    Checkpoint("accuracy", "accuracy"),
    Checkpoint("detailed-first", "detailed-first"),
    Checkpoint("WISE", "distillation", ("wise", "wise-s")),
)


def present(runs: Path) -> list[Checkpoint]:
    """The checkpoints whose model is in `runs`."""
    return [row for row in CHECKPOINTS if (runs / row.folder / "model").is_dir()]


def training_tables(runs: Path, rows: Sequence[Checkpoint]) -> dict[str, Path]:
    """What GRPO wrote at its steps, by the name of each checkpoint that it trained."""
    return {row.name: runs / row.folder / "training.csv" for row in rows if row is not START}


def write_scenes(folder: Path, count: int, seed: int) -> Dataset:
    """`count` fresh scenes as name.png, name.mask.png and name.txt."""
    for index, (scene, query) in enumerate(fresh_scenes(count, seed, FAMILIES)):
        scene.image.save(folder / f"{index:04}.png")
        Image.fromarray(np.asarray(scene.shapes[query.targets[0]].mask)).save(
            folder / f"{index:04}.mask.png"
        )
        (folder / f"{index:04}.txt").write_text(query.text, "utf-8")
    return datasets.read(folder)


def measure(folder: Path, row: Checkpoint, dataset: Dataset, concurrency: int) -> list[Summary]:
    """Raises RuntimeError if a pair failed, so that no incomplete table is written."""
    summaries = []
    options = runner.Options(concurrency=concurrency, progress=True)
    for strategy in row.strategies:  # a server each, so that none finds the other's images cached
        with (
            running_server(
                "--reasoner", str(folder / row.folder / "model"), *AS_PACKAGED
            ) as server,
            Client(server.url, max_connections=concurrency) as client,
        ):
            made = runner.run(client, dataset, strategy, options)
        if made.failures:
            raise RuntimeError(f"{len(made.failures)} pairs failed: {made.failures[0].error}")
        name = f"{row.name}-S" if strategy == "wise-s" else row.name
        summaries.append(replace(made.summary, strategy=name))
    return summaries


def draw(summaries: Sequence[Summary], picture: Path) -> None:
    """Accuracy and latency against thinking tokens."""
    matplotlib.use("Agg")
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6))
    for axis, name in zip(axes, ("gIoU, %", "latency, mean, ms"), strict=True):
        for one in summaries:
            tokens = one.thinking_tokens_mean or 0.0
            giou, latency = 100 * (one.giou or 0.0), one.latency_mean_ms or 0.0
            value = giou if name.startswith("gIoU") else latency
            axis.plot(tokens, value, "o")
            axis.annotate(
                one.strategy, (tokens, value), (5, 4), textcoords="offset points", fontsize=8
            )
        axis.set(xlabel="thinking tokens, mean", ylabel=name, xlim=(0, None), ylim=(0, None))
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--scenes", type=int, default=300, help="how many (default: 300)")
    parser.add_argument("--seed", type=int, default=19, help="another draw of scenes (default: 19)")
    parser.add_argument("--concurrency", type=int, default=4, help="requests at once (default: 4)")
    parser.add_argument("--runs", type=Path, default=Path("runs/wise"), help="default: runs/wise")
    parser.add_argument("--document", type=Path, default=DOCS / "wise-in-miniature.md")
    args = parser.parse_args()
    before = args.document.read_text("utf-8")
    rewritten(before, "")  # an error before the work, not after it
    there = present(args.runs)
    missing = [row.name for row in CHECKPOINTS if row not in there]
    tables = training_tables(args.runs, there)
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_scenes(Path(folder), args.scenes, args.seed)
        summaries = [
            summary
            for row in there
            for summary in measure(args.runs, row, dataset, args.concurrency)
        ]
    how = (
        f"{args.scenes} scenes (seed {args.seed}), {args.concurrency} requests at once; "
        f"{os.cpu_count()} CPU cores, {platform.machine()}, no GPU."
    )
    if missing:
        how += f" Not trained yet: {', '.join(missing)}."
    found = f"{TRAINED}\n\n{compare_objectives(tables)}\n\n{how}\n\n{table.as_markdown(summaries)}"
    args.document.write_text(rewritten(before, found), "utf-8")
    draw(summaries, args.document.with_name("wise-in-miniature-cost.png"))
    draw_objectives(tables, args.document.with_name("wise-in-miniature-curves.png"))
    print(table.as_markdown(summaries))
    print(json.dumps({"scenes": args.scenes, "rows": [asdict(summary) for summary in summaries]}))


if __name__ == "__main__":
    main()
