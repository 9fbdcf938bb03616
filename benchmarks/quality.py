"""The quality of the miniature pair: new scenes through POST /segment, by family of query.

Prints a table, and one JSON line last. The scenes' seeds are never used in training. The miniature
is a demonstration model: these figures say nothing about the public checkpoints.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from miniature.queries import FAMILIES, Query, make_query
from miniature.scenes import Scene, draw_scene
from running import running_server
from wise_client import Client, Strategy

FRESH_SEED = 7_000_000  # training draws from 100_000 a run and 900_001
IN_FLIGHT = 8


@dataclass
class Tally:
    """The results of one family of queries under one strategy."""

    ious: list[float] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    thinking_tokens: list[int] = field(default_factory=list)

    def share(self, status: str) -> float:
        """The share of answers with this status, 0 to 1."""
        return self.statuses.count(status) / len(self.statuses)


def fresh_scenes(
    count: int, seed: int, families: Sequence[str] = FAMILIES
) -> Iterator[tuple[Scene, Query]]:
    """`count` scenes of the whole domain, one query each, the families in turn."""
    for index in range(count):
        rng = np.random.default_rng([FRESH_SEED + seed, index])
        query = None
        while query is None:
            scene = draw_scene(rng)
            query = make_query(scene, rng, families[index % len(families)])
        yield scene, query


def judge(client: Client, scene: Scene, query: Query, strategy: Strategy, tally: Tally) -> None:
    """Ask one query and add its figures, measured against the scene, to the tally."""
    result = client.segment(scene.image, query.text, strategy=strategy)
    height, width = scene.image.height, scene.image.width
    found = np.zeros((height, width), bool)
    for instance in result.instances:
        found |= instance.mask
    truth = np.zeros((height, width), bool)
    for index in query.targets:
        truth |= scene.shapes[index].mask
    union = (found | truth).sum()
    tally.ious.append(float((found & truth).sum() / union) if union else 1.0)
    tally.statuses.append(result.status)
    tally.thinking_tokens.append(result.usage.thinking_tokens)


def measure(
    url: str, count: int, seed: int, strategies: list[Strategy]
) -> dict[Strategy, dict[str, Tally]]:
    """Ask `count` scenes with each strategy; the tallies by strategy and family of queries."""
    tallies: dict[Strategy, dict[str, Tally]] = {
        name: {family: Tally() for family in FAMILIES} for name in strategies
    }
    with Client(url) as client, ThreadPoolExecutor(IN_FLIGHT) as pool:
        waiting = []
        bar = tqdm(total=count * len(strategies), unit="query")
        for scene, query in fresh_scenes(count, seed):
            for strategy in strategies:
                tally = tallies[strategy][query.family]
                waiting.append(pool.submit(judge, client, scene, query, strategy, tally))
            while len(waiting) >= 2 * IN_FLIGHT:  # scenes are large: few are held at once
                waiting.pop(0).result()
                bar.update()
        for future in waiting:
            future.result()
            bar.update()
        bar.close()
    return tallies


def summarise(tallies: dict[str, Tally]) -> dict[str, float]:
    """The figures of one strategy, from its tallies by family."""
    present = [tallies[family] for family in FAMILIES if family != "absent"]
    summary = {
        f"{family}_{name}": value
        for family, tally in tallies.items()
        if family != "absent"
        for name, value in (
            ("mean_iou", float(np.mean(tally.ious))),
            ("iou_50", float(np.mean(np.array(tally.ious) >= 0.5))),
        )
    }
    all_present = [status for tally in present for status in tally.statuses]
    return summary | {
        "absent_no_target": tallies["absent"].share("no_target"),
        "false_no_target": all_present.count("no_target") / len(all_present),
        "unparsed": sum(t.statuses.count("unparsed") for t in tallies.values())
        / sum(len(t.statuses) for t in tallies.values()),
        "mean_iou": float(np.mean([iou for tally in present for iou in tally.ious])),
        "thinking_tokens": float(
            np.mean([n for tally in tallies.values() for n in tally.thinking_tokens])
        ),
    }


def print_table(summaries: dict[str, dict[str, float]]) -> None:
    """Print a Markdown table with one column per strategy."""
    names = list(summaries)
    print("| figure | " + " | ".join(names) + " |")
    print("|---|" + "---|" * len(names))
    for figure in next(iter(summaries.values())):
        values = (summaries[name][figure] for name in names)
        print(f"| {figure} | " + " | ".join(f"{value:.3f}" for value in values) + " |")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scenes", type=int, default=500, help="how many (default: 500)")
    parser.add_argument("--seed", type=int, default=0, help="another draw of scenes")
    parser.add_argument("--strategies", default="wise-s,wise,seg-zero,vision-reasoner")
    parser.add_argument("--url", help="a running server; by default one is started")
    args = parser.parse_args()
    strategies: list[Strategy] = args.strategies.split(",")
    with ExitStack() as stack:
        url = args.url or stack.enter_context(running_server()).url
        tallies = measure(url, args.scenes, args.seed, strategies)
    summaries = {str(strategy): summarise(tally) for strategy, tally in tallies.items()}
    print_table(summaries)
    print(json.dumps({"scenes": args.scenes, "seed": args.seed, **summaries}))


if __name__ == "__main__":
    main()
