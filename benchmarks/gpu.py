"""Measures everything that needs a GPU, in one command of less than nine minutes.

It has three parts: SAM 2 large by lever and batch (`gpu_segmenter.py`), the whole server under load
(`gpu_server.py`), and a reasoner of Qwen2.5-VL-7B's size (`gpu_reasoning.py`). Each runs in its own
process, which is ended when its time is up; the figures it has by then are kept. All weights are
random, so that no checkpoint is needed. A bare node needs torch, torchvision, transformers and the
packages of `make gpu-packages`; vLLM is used if it is installed.

Prints the section of docs/performance.md in Markdown, and one JSON line last.
`--small --device cpu` runs everything with small models. The exit status is 1 if a part has no
figures.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import gpu_page
from gpu_part import PARTS, Options

BUDGET_S = {"segmenter": 190.0, "server": 150.0, "reasoning": 150.0}
GRACE_S = 10.0  # for a part to close what it opened; with the budgets 520 of 540 s
CHILD = Path(__file__).with_name("gpu_part.py")


def run_part(part: str, options: Options) -> tuple[dict[str, Any], str]:
    """The figures of a part, and how it ended if not by itself."""
    fields = asdict(options) | {"result": str(options.result)}
    command = [sys.executable, str(CHILD), part, json.dumps(fields)]
    ended = ""
    process = subprocess.Popen(command, stdout=sys.stderr)
    try:
        status = process.wait(options.left_s)
        ended = f"ended with status {status}" if status else ""
    except subprocess.TimeoutExpired:
        process.terminate()  # the part then ends its server itself
        ended = "was ended when its time was up"
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    found = json.loads(options.result.read_text()) if options.result.exists() else {}
    return found, ended


def run_parts(args: argparse.Namespace) -> dict[str, Any]:
    """The figures of all parts; `--output` has those of each as soon as it has ended."""
    card = torch.cuda.get_device_name() if args.device == "cuda" else "a CPU"
    figures: dict[str, Any] = {"card": card, "small": args.small, "ended": {}}
    compiled = args.device == "cuda" if args.compile is None else args.compile
    with tempfile.TemporaryDirectory() as folder:
        for part in args.parts:
            print(f"{part}: at most {BUDGET_S[part]:.0f} s", file=sys.stderr)
            options = Options(
                device=args.device,
                small=args.small,
                compiled=compiled,
                repeats=args.repeats,
                in_flight=args.in_flight,
                vllm=args.vllm,
                until=time.monotonic() + BUDGET_S[part],
                result=Path(folder) / f"{part}.json",
            )
            figures[part], ended = run_part(part, options)
            if ended:
                figures["ended"][part] = ended
            if args.output is not None:
                args.output.parent.mkdir(parents=True, exist_ok=True)
                args.output.write_text(json.dumps(figures, indent=1))
    return figures


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--small", action="store_true", help="small models")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--repeats", type=int, default=10, help="of each timing (default: 10)")
    parser.add_argument("--in-flight", type=int, default=64, help="requests at once (default: 64)")
    parser.add_argument(
        "--vllm", action=argparse.BooleanOptionalAction, default=True, help="where installed"
    )
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, help="SAM 2 (default: on CUDA)"
    )
    parser.add_argument("--output", type=Path, help="also write the figures to this JSON file")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device; --small --device cpu runs anywhere")
    figures = run_parts(args)
    print(gpu_page.page(figures))
    if args.write:
        gpu_page.write(figures)
    print(json.dumps(figures))
    return int(any(not figures[part] for part in args.parts))


if __name__ == "__main__":
    sys.exit(main())
