"""How fast the server is, each figure a ratio measured in this run: docs/performance.md's table.

The baseline is `reference.py`: what the public evaluation computes, on the same weights, images and
queries. The server runs in a process of its own and is asked over HTTP. The run fails (exit status
1) if one of its masks has less than IoU 0.99 with the reference's. One JSON line comes last.
"""

import argparse
import io
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from load import Case, Run, ask_once, closed_loop, make_cases, open_loop
from processes import resident_bytes
from reference import Asked, Reference, iou
from running import running_server
from wise_client import AsyncClient, Segmentation

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- speed: written by `make speed` -->\n", "<!-- speed end -->"
LEAST_IOU = 0.99
IN_FLIGHT = 16
SATURATED = 12

Row = tuple[str, str, str]  # what, target, measured


def run_reference(
    reference: Reference, cases: Sequence[Case], batch: int
) -> tuple[float, list[NDArray[np.bool_]]]:
    """Images a second, decoding included, and the union of each answer's masks."""

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
    return min(iou(answer.mask, mask) for answer, mask in zip(answers, masks, strict=True))


def strategy(name: Any) -> Callable[[AsyncClient, Case], Any]:
    async def ask(client: AsyncClient, case: Case) -> Segmentation:
        return await client.segment(case.image, case.query, strategy=name)

    return ask


def thinking(run: Run) -> float:
    return float(np.mean([answer.usage.thinking_tokens for answer in run.answers]))


class Measurement:
    """The rows of the table, in turn, against one running server; caches are cold for each."""

    def __init__(self, url: str, pid: int, cases: int) -> None:
        self.url, self.pid, self.cases = url, pid, cases
        self.rows: list[Row] = []
        self.figures: dict[str, float] = {}
        self._seed = 100

    def fresh(self, count: int) -> list[Case]:
        self._seed += 1
        return make_cases(count, self._seed)

    def row(self, key: str, what: str, target: str, value: float, text: str) -> None:
        self.figures[key] = round(value, 4)
        self.rows.append((what, target, text))
        print(f"{what}: {text}", flush=True)

    def throughput(self, cases: Sequence[Case], rates: dict[int, float]) -> Run:
        run = closed_loop(self.url, cases, IN_FLIGHT)
        self.figures["rate_at_16"] = round(run.rate, 2)
        for batch, target in ((1, ">= 5x"), (16, ">= 2x")):
            ratio = run.rate / rates[batch]
            what = f"throughput at 16 in flight / reference at batch {batch}"
            text = f"{ratio:.2f}x ({run.rate:.1f} / {rates[batch]:.1f} a second)"
            self.row(f"against_batch_{batch}", what, target, ratio, text)
        return run

    def at_rest(self) -> None:
        run = closed_loop(self.url, self.fresh(self.cases // 2), 1)
        parts = [(a.timing, max(a.timing.reason_ms, a.timing.encode_ms)) for a in run.answers]
        ratio = float(np.mean([t.total_ms / (slower + t.segment_ms) for t, slower in parts]))
        text = f"{ratio:.2f}x ({run.mean_ms('total'):.0f} ms)"
        what = "latency at rest / (max(reason, encode) + decode), of the same requests"
        self.row("at_rest", what, "<= 1.10x", ratio, text)
        hidden = sum(min(t.encode_ms, t.reason_ms) for t, _ in parts)
        share = hidden / sum(t.encode_ms for t, _ in parts)
        self.row(
            "hidden", "encode hidden behind reasoning, at rest", ">= 90 %", share, f"{share:.0%}"
        )

    def known_image(self) -> None:
        cases = self.fresh(self.cases // 2)
        first = closed_loop(self.url, cases, 1)
        second = closed_loop(self.url, [Case(c.image, "the largest shape") for c in cases], 1)
        ratio = second.quantile_ms(0.5) / first.quantile_ms(0.5)
        cached = float(np.mean([a.usage.cached_tokens for a in second.answers]))
        text = f"{ratio:.2f}x; encode {second.mean_ms('encode'):.1f} ms, {cached:.0f} tokens cached"
        what = "second query on a known image / the first: median latency"
        self.row("known_image", what, "<= 0.5x", ratio, text)

    def many_queries(self) -> None:
        groups, apart = 4, self.fresh(64)
        queries = [case.query for case in apart[:16]]

        async def together(client: AsyncClient, case: Case) -> Any:
            return await client.segment_queries(case.image, queries)

        alone = closed_loop(self.url, apart, IN_FLIGHT)
        run = closed_loop(self.url, self.fresh(groups), 1, together)
        ratio = groups * 16 / run.took_s / alone.rate
        what = "16 `queries` on one image / 16 requests with 16 images: throughput"
        text = f"{ratio:.2f}x ({groups * 16 / run.took_s:.1f} / {alone.rate:.1f} a second)"
        self.row("many_queries", what, ">= 3x", ratio, text)

    def strategies(self) -> None:
        rest, full = {}, {}
        for quality, name in ((90, "wise-s"), (91, "seg-zero")):
            few = make_cases(self.cases // 2, 50, quality)
            many = make_cases(self.cases, 51, quality)
            rest[name] = closed_loop(self.url, few, 1, strategy(name))
            full[name] = closed_loop(self.url, many, IN_FLIGHT, strategy(name))
        tokens = thinking(full["wise-s"]) / thinking(full["seg-zero"])
        latency = rest["wise-s"].quantile_ms(0.5) / rest["seg-zero"].quantile_ms(0.5)
        rate = full["wise-s"].rate / full["seg-zero"].rate
        what = "`wise-s` / `seg-zero`: thinking tokens; latency at rest; throughput at 16"
        self.figures |= {"strategy_latency": round(latency, 4), "strategy_rate": round(rate, 4)}
        text = f"1/{1 / tokens:.1f}; {latency:.2f}x; {rate:.2f}x"
        self.row("strategy_tokens", what, "<= 1/5; report; report", tokens, text)

    def growth(self) -> None:
        few = closed_loop(self.url, self.fresh(self.cases), SATURATED)
        before = resident_bytes(self.pid)
        many = closed_loop(self.url, self.fresh(self.cases * 3), SATURATED * 10)
        grown = (resident_bytes(self.pid) - before) / 2**20
        ratio = many.rate / few.rate
        what = f"{SATURATED * 10} in flight / {SATURATED}: throughput; memory grown"
        self.figures["grown_mib"] = round(grown, 1)
        self.row("growth", what, "within 5 %; flat", ratio, f"{ratio:.2f}x; {grown:+.0f} MiB")

    def curve(self, peak: float) -> list[str]:
        lines = ["| offered, a second | p50 ms | p95 ms | p99 ms |", "|---|---|---|---|"]
        for share in (0.25, 0.5, 0.75, 0.9):
            run = open_loop(self.url, self.fresh(self.cases), peak * share, self._seed)
            p50, p95, p99 = (run.quantile_ms(q) for q in (0.5, 0.95, 0.99))
            lines.append(
                f"| {peak * share:.1f} ({share:.0%} of peak) | {p50:.0f} | {p95:.0f} | {p99:.0f} |"
            )
            print(lines[-1], flush=True)
        return lines


def write(rows: Sequence[Row], curve: Sequence[str], command: str) -> None:
    """Into the page, between its marks."""
    lines = [f"`{command}`, {date.today()}, {platform.processor() or platform.machine()}:", ""]
    lines += ["| what | target | measured |", "|---|---|---|"]
    lines += [f"| {what} | {target} | {measured} |" for what, target, measured in rows]
    lines += ["", "Latency under Poisson arrivals:", "", *curve, ""]
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(before + BEGIN + "\n".join(["", *lines]) + END + rest.split(END)[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=64, help="requests of a row (default: 64)")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    args = parser.parse_args()
    cases = make_cases(args.cases, 0)
    reference = Reference()
    rates: dict[int, float] = {}
    masks: list[NDArray[np.bool_]] = []
    for batch in (1, 16):
        rates[batch], masks = run_reference(reference, cases, batch)
    begun = time.perf_counter()
    with running_server() as server:
        ready_s = time.perf_counter() - begun
        measured = Measurement(server.url, server.pid, args.cases)
        closed_loop(server.url, measured.fresh(16), 4, ask_once)  # warm
        run = measured.throughput(cases, rates)
        worst = worst_iou(run.answers, masks)
        for step in (measured.at_rest, measured.known_image, measured.many_queries):
            step()
        measured.strategies()
        measured.growth()
        curve = measured.curve(run.rate)
    measured.row("ready_s", "process start to ready", "report", ready_s, f"{ready_s:.1f} s")
    measured.row("worst_iou", "least mask IoU with the reference", ">= 0.99", worst, f"{worst:.4f}")
    if args.write:
        write(measured.rows, curve, "make speed")
    print(json.dumps({"cases": args.cases, **measured.figures}))
    return int(worst < LEAST_IOU)


if __name__ == "__main__":
    sys.exit(main())
