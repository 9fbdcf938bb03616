"""How fast the server is, in ratios that one run measures: the table of docs/performance.md.

The baseline is `reference.py`: the steps of the public evaluation on the same weights, images and
queries. The server runs in its own process and is asked over HTTP. Prints one JSON line last. The
exit status is 1 if one of its masks has less than IoU 0.99 with the reference's.
"""

import argparse
import io
import json
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from alone import decoder_across_images
from load import Case, make_cases
from parts import Part, engine_start_s, measure
from reference import Asked, Reference, iou
from running import running_server
from speed_rows import IN_FLIGHT, LOAD_SEED, SLOTS, Measurement, Row
from wise_client import Segmentation

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- speed: written by `make speed` -->\n", "<!-- speed end -->"
LEAST_IOU = 0.99
# Caches so small that they are full before growth is measured, and a queue for all requests.
GROWTH = {
    "--embedding-cache-bytes": 16 * 2**20,
    "--engine-image-cache-bytes": 16 * 2**20,
    "--kv-cache-bytes": 128 * 2**20,
    "--max-queued-requests": 10 * SLOTS,
}


def run_reference(
    reference: Reference, cases: Sequence[Case], batch: int
) -> tuple[float, list[NDArray[np.bool_]]]:
    """Images per second, decoding included, and the union of each answer's masks."""

    def asked(case: Case) -> Asked:
        return Asked(Image.open(io.BytesIO(case.image)).convert("RGB"), case.query, "wise-s")

    reference.answer([asked(case) for case in cases[:batch]])  # warm
    masks: list[NDArray[np.bool_]] = []
    begun = time.perf_counter()
    for start in tqdm(range(0, len(cases), batch), desc=f"reference, batch {batch}"):
        group = [asked(case) for case in cases[start : start + batch]]
        for question, answer in zip(group, reference.answer(group), strict=True):
            union = np.zeros((question.image.height, question.image.width), bool)
            for mask in answer.masks:
                union |= mask
            masks.append(union)
    return len(cases) / (time.perf_counter() - begun), masks


def worst_iou(answers: Sequence[Segmentation], masks: Sequence[NDArray[np.bool_]]) -> float:
    """The smallest IoU between the answers' masks and `masks` (H x W bool)."""
    return min(iou(answer.mask, mask) for answer, mask in zip(answers, masks, strict=True))


def measure_parts(cases: int) -> dict[str, Part]:
    """Each part alone, on the scenes of LOAD_SEED, the two models with 16 in flight."""
    models = ("reasoner", "segmenter")
    load = {name: measure(name, cases, LOAD_SEED, IN_FLIGHT) for name in models}
    return load | {"images": measure("images", cases, LOAD_SEED)}


def table(rows: Sequence[Row]) -> list[str]:
    """A Markdown table of the rows."""
    lines = ["| what | target | measured |", "|---|---|---|"]
    return lines + [f"| {what} | {target} | {measured} |" for what, target, measured in rows]


def write(rows: Sequence[Row], curve: Sequence[str], compiled: Sequence[Row]) -> None:
    """Write the tables into the page, between its marks."""
    lines = [f"`make speed`, {date.today()}, {platform.processor() or platform.machine()}:", ""]
    lines += [*table(rows), "", "Latency under Poisson arrivals:", "", *curve, ""]
    lines += ["With `--engine-compile`, in the same run:", "", *table(compiled), ""]
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(before + BEGIN + "\n".join(["", *lines]) + END + rest.split(END)[1])


def measure_compiled(cases: Sequence[Case], rates: Mapping[int, float]) -> Measurement:
    """The rows that `--engine-compile` changes, on a server of its own."""
    with running_server("--engine-compile") as server:
        measured = Measurement(server.url, server.pid, len(cases))
        measured.warm_up()
        measured.throughput(cases, rates)
        measured.known_image()
        measured.many_queries()
    return measured


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=128, help="requests of a row (default: 128)")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    args = parser.parse_args()
    cases = make_cases(args.cases, LOAD_SEED)
    reference = Reference()
    rates: dict[int, float] = {}
    masks: list[NDArray[np.bool_]] = []
    for batch in (1, 16):
        rates[batch], masks = run_reference(reference, cases, batch)
    parts = measure_parts(args.cases)
    begun = time.perf_counter()
    with running_server() as server:
        ready_s = time.perf_counter() - begun
        measured = Measurement(server.url, server.pid, args.cases)
        measured.warm_up()
        run = measured.throughput(cases, rates)
        worst = worst_iou(run.answers, masks)
        measured.against_parts(run.rate, parts)
        measured.at_rest()
        measured.known_image()
        measured.many_queries()
        measured.strategies()
        curve = measured.curve(run.rate)
    measured.decoder(*decoder_across_images(IN_FLIGHT))
    measured.start(ready_s, engine_start_s())
    with running_server(*(str(part) for flag in GROWTH.items() for part in flag)) as server:
        measured.url, measured.pid = server.url, server.pid
        measured.growth()
    measured.row(
        "worst_iou", "lowest mask IoU with the reference", ">= 0.99", worst, f"{worst:.4f}"
    )
    compiled = measure_compiled(cases, rates)
    if args.write:
        write(measured.rows, curve, compiled.rows)
    figures = {"cases": args.cases, **measured.figures, "compiled": compiled.figures}
    print(json.dumps(figures))
    return int(worst < LEAST_IOU)


if __name__ == "__main__":
    sys.exit(main())
