"""The rows of docs/performance.md's table that are measured on a running server."""

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from load import OTHER_QUERY, Case, Run, ask_with, closed_loop, make_cases, open_loop
from overload_traffic import capacity, requests
from parts import Part, measure
from processes import family, resident_bytes
from wise_client import AsyncClient, Segmentation

IN_FLIGHT = 16
SLOTS = 64  # requests inside at once, the server's default: more in flight than these wait
MANY = 16  # queries about one image
UNSEEN = 1000  # images in turn: more than the caches keep
GROWTH_S, SETTLED_AFTER_S = 20.0, 75.0
REST_SEED, LOAD_SEED = 200, 0

Row = tuple[str, str, str]  # what, target, measured


def thinking(run: Run) -> float:
    """Mean number of thinking tokens per answer."""
    return float(np.mean([answer.usage.thinking_tokens for answer in run.answers]))


class Measurement:
    """Measures the rows of the table on one running server; no row's images are in a cache."""

    def __init__(self, url: str, pid: int, cases: int) -> None:
        self.url, self.pid, self.cases = url, pid, cases
        self.rows: list[Row] = []
        self.figures: dict[str, float] = {}
        self.gateway_cpu_ms = 0.0
        self._seed = 100

    def fresh(self, count: int) -> list[Case]:
        """`count` cases that this server has not seen."""
        self._seed += 1
        return make_cases(count, self._seed)

    def warm_up(self) -> None:
        """oneDNN makes a kernel for each new number of rows: the first hundred are slower."""
        closed_loop(self.url, self.fresh(8 * IN_FLIGHT), IN_FLIGHT)

    def row(self, key: str, what: str, target: str, value: float, text: str) -> None:
        """Add a row, print it, and keep its figure under `key`."""
        self.figures[key] = round(value, 4)
        self.rows.append((what, target, text))
        print(f"{what}: {text}", flush=True)

    def throughput(self, cases: Sequence[Case], rates: Mapping[int, float]) -> Run:
        """Requests per second with 16 in flight; `rates`: the public code's, by batch size."""
        gateway = family(self.pid)["gateway"]
        cpu_s = gateway.cpu_s
        run = closed_loop(self.url, cases, IN_FLIGHT)
        self.gateway_cpu_ms = (gateway.cpu_s - cpu_s) / len(cases) * 1000
        self.figures["rate_at_16"] = round(run.rate, 2)
        for batch, target in ((1, ">= 5x"), (16, ">= 2x")):
            ratio = run.rate / rates[batch]
            what = f"throughput at 16 in flight / that of the reference at batch {batch}"
            text = f"{ratio:.2f}x ({run.rate:.1f} / {rates[batch]:.1f} requests/s)"
            self.row(f"against_batch_{batch}", what, target, ratio, text)
        return run

    def against_parts(self, rate: float, parts: dict[str, Part]) -> None:
        """`parts`: 'reasoner', 'segmenter' (16 in flight) and 'images', each measured alone."""
        reasoner, segmenter = parts["reasoner"].rate, parts["segmenter"].rate
        slower = min(reasoner, segmenter)
        both = 1 / (1 / reasoner + 1 / segmenter)
        what = "throughput at 16 in flight / the slower of (vLLM alone, segmenter alone)"
        text = (
            f"{rate / slower:.2f}x ({rate:.1f} / min({reasoner:.1f}, {segmenter:.1f}) requests/s)"
        )
        self.row(
            "against_slower", what, ">= 0.90 if each model has its own cores", rate / slower, text
        )
        what = (
            "the same / the rate if both models run one after the other, since they share the cores"
        )
        self.row("against_sum", what, ">= 0.90", rate / both, f"{rate / both:.2f}x")
        ratio, alone = self.gateway_cpu_ms / parts["images"].cpu_ms, parts["images"].cpu_ms
        what = "gateway CPU per request / that of decoding and resizing the image"
        front = parts["reasoner"].front_cpu_ms
        self.figures["engine_front_cpu_ms"] = round(front, 2)
        text = f"{ratio:.1f}x ({self.gateway_cpu_ms:.1f} / {alone:.1f} ms; vLLM's own front end "
        text += f"alone: {front:.1f})"
        self.row("gateway_cpu", what, "<= 2x", ratio, text)

    def at_rest(self) -> None:
        """The parts are measured between two runs of the server, which idles meanwhile."""

        def served(quality: int) -> list[Segmentation]:  # each gives pixels that no cache knows
            return closed_loop(self.url, make_cases(self.cases // 2, REST_SEED, quality), 1).answers

        answers = served(90)
        reasoner, segmenter = (
            measure(name, self.cases // 2, REST_SEED) for name in ("reasoner", "segmenter")
        )
        answers += served(91)
        encode_ms, decode_ms = segmenter.of_ms["encode"], segmenter.of_ms["decode"]
        sum_ms = max(reasoner.median_ms, encode_ms) + decode_ms
        total_ms = float(np.median([a.timing.total_ms for a in answers]))
        text = f"{total_ms / sum_ms:.2f}x ({total_ms:.0f} / max({reasoner.median_ms:.0f}, "
        text += f"{encode_ms:.0f}) + {decode_ms:.0f} ms)"
        what = "latency at rest / (max(reason, encode) + decode), each measured alone; medians"
        self.row("at_rest", what, "<= 1.10x", total_ms / sum_ms, text)
        timings = [a.timing for a in answers]
        hidden = sum(min(t.encode_ms, t.reason_ms) for t in timings)
        share = hidden / sum(t.encode_ms for t in timings)
        what = "share of encode that runs during reasoning, at rest"
        self.row("hidden", what, ">= 90 %", share, f"{share:.0%}")

    def decoder(self, ratio: float, worst: float) -> None:
        """Masks in one batch and one by one: `ratio` of the times, `worst` IoU between them."""
        what = "masks of 16 images one by one / in one batch, worker alone: time; lowest IoU"
        self.figures["decoder_iou"] = round(worst, 5)
        self.row("decoder", what, "none; >= 0.999", ratio, f"{ratio:.2f}x; {worst:.4f}")

    def start(self, ready_s: float, engine_s: float) -> None:
        """Seconds until the server is ready, and until vLLM alone gives its first token."""
        what = "time from process start to ready; of vLLM alone, from start to first token"
        self.figures["engine_start_s"] = round(engine_s, 2)
        self.row("ready_s", what, "none", ready_s, f"{ready_s:.1f} s; {engine_s:.1f} s")

    def known_image(self) -> None:
        """What a second query about an image saves."""
        cases = self.fresh(self.cases // 2)
        pairs = [(case, Case(case.image, OTHER_QUERY)) for case in cases]
        run = closed_loop(self.url, [case for pair in pairs for case in pair], 1)
        answers = run.answers[1::2]
        before, after = (float(np.median(run.latency_s[i::2])) * 1000 for i in (0, 1))
        encode_ms = float(np.mean([a.timing.encode_ms for a in answers]))
        cached = float(np.mean([a.usage.cached_tokens for a in answers]))
        text = f"{after / before:.2f}x ({after:.0f} / {before:.0f} ms); encode "
        text += f"{encode_ms:.1f} ms, {cached:.0f} tokens cached"
        what = "second query about an image / the first: median latency"
        self.row("known_image", what, "<= 0.5x", after / before, text)

    def many_queries(self) -> None:
        """Compares 16 queries per request with one, at the same number of queries in flight: 16,
        and 64."""
        for callers in (1, 4):
            apart = self.fresh(8 * MANY)
            queries = [case.query for case in apart[:MANY]]

            async def together(
                client: AsyncClient, case: Case, queries: list[str] = queries
            ) -> Any:
                return await client.segment_queries(case.image, queries)

            groups = 8 * callers
            alone = closed_loop(self.url, apart, callers * MANY)
            run = closed_loop(self.url, self.fresh(groups), callers, together)
            rate = groups * MANY / run.took_s
            inside = callers * MANY
            what = f"16 `queries` per request / one, {inside} queries in flight: throughput"
            text = f"{rate / alone.rate:.2f}x ({rate:.1f} / {alone.rate:.1f} requests/s)"
            self.row(f"many_queries_{inside}", what, ">= 3x", rate / alone.rate, text)

    def strategies(self) -> None:
        """Concise against long rationales: tokens, latency and throughput."""
        rest, full = {}, {}
        for quality, name in ((90, "wise-s"), (91, "seg-zero")):
            few = make_cases(self.cases // 2, 50, quality)
            many = make_cases(self.cases, 51, quality)
            rest[name] = closed_loop(self.url, few, 1, ask_with(name))
            full[name] = closed_loop(self.url, many, IN_FLIGHT, ask_with(name))
        tokens = thinking(full["wise-s"]) / thinking(full["seg-zero"])
        latency = rest["wise-s"].quantile_ms(0.5) / rest["seg-zero"].quantile_ms(0.5)
        rate = full["wise-s"].rate / full["seg-zero"].rate
        what = "`wise-s` / `seg-zero`: thinking tokens; latency at rest; throughput at 16"
        self.figures |= {"strategy_latency": round(latency, 4), "strategy_rate": round(rate, 4)}
        text = f"1/{1 / tokens:.1f}; {latency:.2f}x; {rate:.2f}x"
        self.row("strategy_tokens", what, "<= 1/5; none; none", tokens, text)

    def growth(self) -> None:
        """Throughput and memory with many callers.

        It uses a client that needs almost no CPU: httpx needs 3 ms per request with 64 callers on
        these cores, and 9 ms with 640. The server's caches are small (see `speed.py`), and what
        else grows at first, such as oneDNN's kernels, has grown before this begins."""
        bodies = itertools.cycle(requests(urlsplit(self.url).netloc, UNSEEN))

        def rate(callers: int, seconds: float = GROWTH_S) -> float:
            return asyncio.run(capacity(self.url, bodies, callers, seconds))

        rate(SLOTS, SETTLED_AFTER_S)
        few, before = [rate(SLOTS)], resident_bytes(self.pid)
        many = [rate(10 * SLOTS)]
        grown = (resident_bytes(self.pid) - before) / 2**20
        many += [rate(10 * SLOTS)]
        few += [rate(SLOTS)]  # in turn: A, B, B, A
        ratio = sum(many) / sum(few)
        what = f"{SLOTS * 10} in flight / {SLOTS}: throughput; growth of memory"
        self.figures["grown_mib"] = round(grown, 1)
        text = f"{ratio:.2f}x ({sum(many) / 2:.1f} / {sum(few) / 2:.1f} requests/s); "
        text += f"{grown:+.0f} of {before / 2**20:.0f} MiB"
        self.row("growth", what, "within 5 %; none", ratio, text)

    def curve(self, peak: float) -> list[str]:
        """Latency at a quarter to nine tenths of the `peak` rate (requests per second)."""
        lines = ["| requests/s sent | p50 ms | p95 ms | p99 ms |", "|---|---|---|---|"]
        for share in (0.25, 0.5, 0.75, 0.9):
            run = open_loop(self.url, self.fresh(self.cases), peak * share, self._seed)
            p50, p95, p99 = (run.quantile_ms(q) for q in (0.5, 0.95, 0.99))
            lines.append(
                f"| {peak * share:.1f} ({share:.0%} of peak) | {p50:.0f} | {p95:.0f} | {p99:.0f} |"
            )
            print(lines[-1], flush=True)
        return lines
