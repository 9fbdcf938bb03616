"""Compares the reasoning engine with and without each of its levers, on servers started in turn.

Each server gets the same requests: new images, 16 in flight and one by one; then another query
about the same images, which are now in the engine's caches. `same` is the share of answers
(rationale, boxes) that the lever does not change. Prefix caching cannot be switched off: the
difference between `known` and `fresh` is what it and the processor cache save together;
`image-cache` shows what the processor cache saves. Prints one JSON line last.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from load import OTHER_QUERY, Case, Run, ask_with, closed_loop, make_cases
from processes import family
from running import RunningServer, running_server

IN_FLIGHT = 16
COLUMNS = {
    "rate": "a second at 16",
    "rest_ms": "p50 at rest, ms",
    "known_rate": "known: a second",
    "known_rest_ms": "known: p50, ms",
    "engine_ms": "engine CPU ms",
    "gateway_ms": "gateway CPU ms",
    "unparsed": "unparsed",
}


@dataclass(frozen=True)
class Lever:
    """The server's flags besides its defaults, and the strategy of the requests."""

    flags: tuple[str, ...] = ()
    strategy: str = "wise-s"


LEVERS = {
    "structured": Lever(("--structured-answers",)),
    "structured-long": Lever(("--structured-answers",), strategy="seg-zero"),
    "ngram": Lever(("--ngram-tokens", "4")),
    "ngram-long": Lever(("--ngram-tokens", "4"), strategy="seg-zero"),
    "batched-tokens-1024": Lever(("--max-batched-tokens", "1024")),
    "batched-tokens-16384": Lever(("--max-batched-tokens", "16384")),
    "image-cache-none": Lever(("--engine-image-cache-bytes", "0")),
    "compile": Lever(("--engine-compile",)),
    "cpu-kernels-none": Lever(("--no-cpu-kernels",)),
}


def measure(
    server: RunningServer, strategy: str, cases: Sequence[Case], rest: Sequence[Case]
) -> tuple[dict[str, float], list[Any]]:
    """The figures of one server, and its answers to the fresh images."""
    asked = ask_with(strategy)

    def run(some: Sequence[Case], in_flight: int) -> Run:
        return closed_loop(server.url, some, in_flight, asked)

    def other(some: Sequence[Case]) -> list[Case]:
        return [Case(case.image, OTHER_QUERY) for case in some]

    run(make_cases(IN_FLIGHT, 300), IN_FLIGHT)  # warm
    before = {role: process.cpu_s for role, process in family(server.pid).items()}
    many = run(cases, IN_FLIGHT)
    spent = {
        role: (process.cpu_s - before[role]) / len(cases) * 1000
        for role, process in family(server.pid).items()
    }
    few = run(rest, 1)
    known, known_few = run(other(cases), IN_FLIGHT), run(other(rest), 1)
    answers = [*many.answers, *few.answers]
    figures = {
        "rate": many.rate,
        "rest_ms": few.quantile_ms(0.5),
        "known_rate": known.rate,
        "known_rest_ms": known_few.quantile_ms(0.5),
        "engine_ms": spent["engine"],
        "gateway_ms": spent["gateway"],
        "unparsed": sum(answer.status == "unparsed" for answer in answers) / len(answers),
    }
    return figures, [(a.reasoning, [i.box for i in a.instances]) for a in answers]


def compare(lever: Lever, rounds: int, count: int) -> dict[str, Any]:
    """Medians over the rounds without and with the lever, and how many answers are the same."""
    cases, rest = make_cases(count, 301), make_cases(count // 2, 302)
    figures: dict[str, list[dict[str, float]]] = {"off": [], "on": []}
    answers: dict[str, list[Any]] = {}
    for number in range(2 * rounds):
        side = ("off", "on")[number % 2]
        with running_server(*(lever.flags if side == "on" else ())) as server:
            one, answers[side] = measure(server, lever.strategy, cases, rest)
        figures[side].append(one)
    pairs = list(zip(answers["off"], answers["on"], strict=True))
    return {
        side: {key: round(median(one[key] for one in some), 3) for key in COLUMNS}
        for side, some in figures.items()
    } | {"same": round(sum(one == other for one, other in pairs) / len(pairs), 4)}


def show(name: str, found: dict[str, Any]) -> None:
    """Print the row of a lever: its figures when it is off and on."""
    for side in ("off", "on"):
        cells = " | ".join(f"{found[side][key]:.4g}" for key in COLUMNS)
        print(f"| {name} | {side} | {cells} | {found['same']:.1%} |", flush=True)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--lever", choices=LEVERS, action="append", help="default: all of them")
    parser.add_argument(
        "--rounds", type=int, default=2, help="servers with, and without (default: 2)"
    )
    parser.add_argument("--cases", type=int, default=64, help="requests of a row (default: 64)")
    args = parser.parse_args()
    print(f"| lever | | {' | '.join(COLUMNS.values())} | same |\n|{'---|' * (len(COLUMNS) + 3)}")
    found = {}
    for name in args.lever or LEVERS:
        found[name] = compare(LEVERS[name], args.rounds, args.cases)
        show(name, found[name])
    print(json.dumps({"rounds": args.rounds, "cases": args.cases, "levers": found}))


if __name__ == "__main__":
    main()
