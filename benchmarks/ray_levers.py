"""Compares the application on Ray with and without a setting of Ray's, or with an older version.

Models that sleep (`ray_stand_ins`: 60 ms an answer, 20 ms an image, two replicas of each). Each
side is a Ray of its own, in a process of its own, since Ray reads its settings when it is imported.
Both run side by side and get the same requests in turn (one, the other, one, ...), so both meet the
same machine. The ratios are medians of the rounds': processor time for a request does not change
much with what else the machine does; the answers a second do.

    .venv-ray/bin/python benchmarks/ray_levers.py --lever one-loop
    .venv-ray/bin/python benchmarks/ray_levers.py --older /path/to/an/older/checkout

with the environment of `make ray-scaling`. The last line is one JSON object. HAProxy in place of
Ray's proxy is not among the settings: with it, Ray refuses a deployment whose ingress has a request
router of its own, as ours has.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from in_turn import Load, ratios_in_turn
from ray_cluster import deploy, ray_cluster
from ray_load import Used, small_images
from ray_stand_ins import REASON_S, TimedReasonerReplica, TimedSegmenterReplica
from wise_serve.ray.application import build, read_settings

REPLICAS: Final = 2
CALLERS: Final = 12
SLOTS: Final = 128
ROUNDS: Final = 4
SECONDS: Final = 6.0
# Ray's variables with each; `ray_cluster.SETTINGS` besides, on both sides.
LEVERS: Final[dict[str, dict[str, str]]] = {
    "same": {},
    "one-loop": {
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    },
    "user-code-in-rays-loop": {"RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0"},
    "router-in-the-applications-loop": {"RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0"},
    "log-buffer": {"RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000"},
    "metrics-every-5-s": {"RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "5000"},
}


class Side:
    """The application on a Ray of its own, in the process that `side` runs."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, number: int) -> Any:
        """Measure one round; returns its row. Rounds of the same number have the same images."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> Any:
        """The next line that the side prints. Raises RuntimeError if its process has ended."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError("One side has ended; its errors are above.")


@contextmanager
def started(environment: dict[str, str]) -> Iterator[Side]:
    """Start a side, and end it when the block ends."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--side"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
        text=True,
    )
    try:
        one = Side(process)
        one.answer()
        yield one
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=90)


def side(seconds: float) -> None:
    """A round for each line that comes in, until the input ends."""
    with ray_cluster(cpus=32) as url:
        settings = read_settings({"max_inflight_requests": SLOTS})
        deploy(build(settings, TimedReasonerReplica, TimedSegmenterReplica, REPLICAS))
        asyncio.run(Load(url, small_images(4 * CALLERS, 0), CALLERS).run())
        print(json.dumps({"ready": url}), flush=True)
        for number in sys.stdin:
            fresh = small_images(int(seconds * REPLICAS / REASON_S) + CALLERS, 1 + int(number))
            used = Used()
            load = asyncio.run(Load(url, fresh, CALLERS).run(seconds))
            count = len(load.latency_s)
            row = {"rate": load.rate, "p50_ms": load.quantile_ms(0.5)}
            print(json.dumps(row | used.ms_a_request(count)), flush=True)


def compare(before: dict[str, str], after: dict[str, str], rounds: int) -> dict[str, Any]:
    """The medians of both sides, and of the rounds' ratios."""
    rows: dict[str, list[dict[str, float]]] = {"without": [], "with": []}
    with ExitStack() as both:
        sides = {
            "without": both.enter_context(started(before)),
            "with": both.enter_context(started(after)),
        }
        for number in range(rounds):
            for name, one in sides.items():
                rows[name].append(one.ask(number))
    medians, ratios = ratios_in_turn(rows)
    rounded = {name: _rounded(columns, 2) for name, columns in medians.items()}
    return {**rounded, "ratio": _rounded(ratios, 3)}


def _rounded(columns: dict[str, float], digits: int) -> dict[str, float]:
    return {name: round(value, digits) for name, value in columns.items()}


def main() -> None:
    """Compare, lever by lever; a line of JSON for each, and all in the last."""
    parser = argparse.ArgumentParser(description="What settings of Ray's save.")
    parser.add_argument("--lever", choices=LEVERS, nargs="+", default=[])
    parser.add_argument("--older", type=Path, help="a checkout to compare this one with")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each side; default: 4")
    parser.add_argument("--side", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        side(SECONDS)
        return
    found: dict[str, Any] = {}
    if args.older is not None:
        path = f"{args.older.resolve() / 'server'}:{os.environ.get('PYTHONPATH', '')}"
        found["older"] = compare({"PYTHONPATH": path}, {}, args.rounds)
        print(json.dumps(found), flush=True)
    for name in args.lever:
        found[name] = compare({}, LEVERS[name], args.rounds)
        print(json.dumps({name: found[name]}), flush=True)
    print(json.dumps({"benchmark": "ray_levers", "seconds": SECONDS, **found}))


if __name__ == "__main__":
    main()
