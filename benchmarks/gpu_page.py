"""The figures of `gpu.py` as Markdown: the section "On a GPU" of docs/performance.md."""

from datetime import date
from pathlib import Path
from typing import Any

from gpu_segmenter import BUCKETS, TORCHAO_MARKS_MS

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- gpu: written by `make gpu` -->\n", "<!-- gpu end -->"
PUBLIC_RUN = "wise-s, batch "
LEAST_MEAN_IOU = 0.999  # of a lever whose time counts
Row = tuple[str, str, str]


def page(figures: dict[str, Any]) -> str:
    """The whole section: card and date, the targets, then a table for each part."""
    lines = [f"`make gpu`, {date.today()}, {figures['card']}:", ""]
    lines += _table(("what", "target", "measured"), targets(figures))
    lines += ["", *_segmenter(figures.get("segmenter", {}))]
    lines += ["", *_server(figures.get("server", {}))]
    lines += ["", *_reasoning(figures.get("reasoning", {}))]
    for part, why in figures["ended"].items():
        lines += ["", f"The part `{part}` {why}: what it had found by then is above."]
    return "\n".join(lines) + "\n"


def write(figures: dict[str, Any]) -> None:
    """Into the page, between its marks."""
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(before + BEGIN + "\n" + page(figures) + END + rest.split(END)[1])


def targets(figures: dict[str, Any]) -> list[Row]:
    """The figure of each target; for a ratio with a missing side, the name of that side."""
    rows: list[Row] = []
    levers = figures.get("segmenter", {}).get("levers", {})
    for batch, mark_ms in TORCHAO_MARKS_MS.items():
        times = {
            name: found["one_point_ms_an_image"][batch]
            for name, found in levers.items()
            if found["mean_iou"] >= LEAST_MEAN_IOU
        }
        best = min(times, key=lambda name: times[name], default=None)
        found = "not measured" if best is None else f"{times[best]} ms ({best})"
        rows.append((f"SAM 2, one point, batch {batch}: ms an image", f"< {mark_ms}", found))
    if "default" in levers:
        found = f"{levers['default']['mean_iou']} (least {levers['default']['least_iou']})"
        rows.append(("mean IoU of the default with float32", ">= 0.999", found))
        public = figures["segmenter"]["predictor"]["bfloat16"]["mean_iou"]
        found = f"{levers['default']['mean_iou']} / {public}"
        rows.append(("the same / that of the public code in bfloat16", "not less", found))
    loaded = figures.get("server", {}).get("loaded")
    if loaded is not None:
        hidden = f"{loaded['encode_hidden']:.1%}, reasoner: {figures['server']['reasoner']}"
        rows.append(("encode hidden behind reasoning, under load", ">= 90 %", hidden))
    return [*rows, *_ratios(figures)]


def _ratios(figures: dict[str, Any]) -> list[Row]:
    """The server against the public pipeline: `generate` of a batch, then image by image SAM 2."""
    server, public = figures.get("server", {}), figures.get("reasoning", {}).get("transformers", {})
    predictor = figures.get("segmenter", {}).get("predictor", {}).get("bfloat16")
    rows: list[Row] = []
    for name, found in public.items():
        if not name.startswith(PUBLIC_RUN) or predictor is None:
            continue
        rate = 1 / (1 / found["requests_per_s"] + predictor["ms_an_image"] / 1000)
        batch = name.removeprefix(PUBLIC_RUN)
        what = f"throughput of the server / of the public pipeline at batch {batch}"
        target = ">= 20x" if batch == "1" else ">= 3x"
        if server.get("reasoner") == "vLLM" and "loaded" in server:
            ratio = server["loaded"]["requests_per_s"] / rate
            measured = f"{ratio:.1f}x ({server['loaded']['requests_per_s']} / {rate:.2f} a second)"
        else:
            measured = f"needs vLLM in the server; the pipeline: {rate:.2f} a second"
        rows.append((what, target, measured))
    return rows


def _segmenter(figures: dict[str, Any]) -> list[str]:
    """A row for each lever; times of the smallest and of the largest batch."""
    first, last = str(BUCKETS[0]), str(BUCKETS[-1])
    head = (
        "SAM 2",
        f"encode, ms an image at {first} / {last}",
        f"decode, ms a mask at {first} / {last}",
        "IoU with float32: mean / least",
        "peak GiB",
    )
    rows: list[tuple[str, ...]] = [
        (
            f"the package's predictor, {name}",
            f"{found['ms_an_image']} with decode",
            "",
            f"{found['mean_iou']} / {found['least_iou']}",
            "",
        )
        for name, found in figures.get("predictor", {}).items()
    ]
    for name, found in figures.get("levers", {}).items():
        encode, decode = found["encode_ms_an_image"], found["decode_ms_a_mask"]
        peak = f"{found['peak_bytes'] / 2**30:.2f}" if "peak_bytes" in found else ""
        ious = f"{found['mean_iou']} / {found['least_iou']}"
        times = [f"{ms[first]} / {ms[last]}" for ms in (encode, decode)]
        rows.append((name, *times, ious, peak))
    left_out = figures.get("left_out")
    tail = ["", f"Left out, since their time was up: {', '.join(left_out)}."] if left_out else []
    return [*_table(head, rows), *tail]


def _server(figures: dict[str, Any]) -> list[str]:
    name = figures.get("reasoner", "not measured")
    head = (f"server, reasoner: {name}", "a second", "p50 ms", "p99 ms", "encode hidden")
    rows = []
    for label, key in (("at rest", "at_rest"), (f"{figures.get('in_flight')} in flight", "loaded")):
        if (found := figures.get(key)) is not None:
            row = (found["requests_per_s"], found["p50_ms"], found["p99_ms"])
            rows.append((label, *map(str, row), f"{found['encode_hidden']:.1%}"))
    return _table(head, rows)


def _reasoning(figures: dict[str, Any]) -> list[str]:
    rows = [
        (engine, run, str(found["requests_per_s"]))
        for engine in ("transformers", "vllm")
        if isinstance(runs := figures.get(engine), dict)
        for run, found in runs.items()
    ]
    missing = figures.get("vllm")
    tail = ["", f"vLLM: {missing}."] if isinstance(missing, str) else []
    return [*_table(("reasoning alone", "run", "requests a second"), rows), *tail]


def _table(head: tuple[str, ...], rows: Any) -> list[str]:
    lines = [head, ("---",) * len(head), *rows]
    return [f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines]
