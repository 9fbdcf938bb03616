"""Millions of images on a Ray cluster: `wise-segment batch`, cut into shards that Ray Data spreads.

    python deploy/ray/batch.py images/*.parquet --query "the cup" -o /shared/answers \\
        --url http://gpu-1:8000 --url http://gpu-2:8000

Each Parquet file and each tar is a shard; folders, COCO files and lists of pairs are cut into lists
of --rows-per-shard. The answers of a shard are Parquet files in a folder of its own, so that
`pyarrow.dataset.dataset(OUT)` and `spark.read.option("recursiveFileLookup", True)` read them all.
A shard that was cut off, by a kill of a task, a node or everything, goes on where it was when the
command is started again: exactly one row for each input of each shard. Inputs and output lie on a
file system that all nodes share and that knows flock. Each node needs
`pip install 'ray[data]' 'wise-client[batch]'`.

Exit status: 0 all answered, 7 some pairs failed (`SHARD.bad.jsonl` says why; run it again), 1 some
shards could not be finished, 2 the arguments are wrong.
"""

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

import ray
from wise_client.answers import claim
from wise_client.cli.main import main as wise_segment
from wise_client.errors import InputError
from wise_client.sources.entries import Asked
from wise_client.sources.inputs import ARCHIVES, How, files_of, read

_ANSWERED, _PARTIAL, _SERVER, _CONNECTION = 0, 7, 5, 6  # exit codes of wise-segment
_NONE: Final = {"rows": 0, "failed": 0, "tokens": 0, "thinking": 0}
_FREE_WITHIN_S: Final = 120.0


def shards_of(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The shards, {"number", "input", "output"}; the list is made at the first start and kept.

    Raises InputError if the list was made from other arguments."""
    inputs = [one.absolute() for one in map(Path, args.input)]
    asked = {
        "inputs": [str(one) for one in inputs],
        "--query": args.query,
        "--image-root": args.image_root and str(args.image_root),
        "--rows-per-shard": args.rows_per_shard,
    }
    listed = args.output / "_shards" / "shards.json"
    if not listed.exists():
        listed.parent.mkdir(parents=True, exist_ok=True)
        found = [file for one in inputs for file in files_of(str(one))]
        files = [one for one in found if _is_archive(one)]
        files += _lists([one for one in found if not _is_archive(one)], args)
        shards = [
            {"number": i, "input": str(file), "output": str(args.output / f"shard-{i:06}")}
            for i, file in enumerate(files)
        ]
        scratch = listed.with_suffix(".scratch")
        scratch.write_text(json.dumps({"asked": asked, "shards": shards}))
        scratch.replace(listed)
    kept = json.loads(listed.read_text())
    if other := [name for name, value in asked.items() if kept["asked"][name] != value]:
        raise InputError(
            f"{args.output} holds answers to other {', '.join(other)}: give the same as at the "
            "first start, or another --output"
        )
    loaded: list[dict[str, Any]] = kept["shards"]
    return loaded


def _is_archive(path: Path) -> bool:
    return path.name.endswith(ARCHIVES) and not path.is_dir()


def _lists(inputs: list[Path], args: argparse.Namespace) -> Iterator[Path]:
    """Everything that is no archive, as lists of pairs in files of --rows-per-shard lines."""
    if not inputs:
        return
    asked = Asked(tuple((query, "") for query in args.query))
    with read(
        [str(one) for one in inputs], How(asked, args.image_root), sys.stdin.buffer
    ) as source:
        entries = source.entries()
        for number in itertools.count():
            lines = [
                json.dumps({"image": entry.name, "query": entry.query, "label": entry.label}) + "\n"
                for entry in itertools.islice(entries, args.rows_per_shard)
            ]
            if not lines:
                return
            path = args.output / "_shards" / f"pairs-{number:06}.jsonl"
            path.write_text("".join(lines), "utf-8")
            yield path


def ask(shard: dict[str, Any], urls: list[str], words: list[str]) -> dict[str, Any]:
    """Runs on a node: one shard, by the server that its number names, by the others if it is gone.

    Never raises, since Ray Data would end all shards; "error" says why this one was not finished.
    "earlier": its rows that were answered before this run.
    """
    output = Path(shard["output"])
    result = {**shard, "error": "", "earlier": 0, **_NONE}
    try:
        _wait_free(output)
        before = _counts(output)
        for attempt in range(len(urls)):
            url = urls[(shard["number"] + attempt) % len(urls)]
            code = wise_segment(
                ["batch", shard["input"], "-o", str(output), "--url", url, "--no-progress", *words]
            )
            if code not in (_SERVER, _CONNECTION):
                break
        result |= {"earlier": before["rows"] - before["failed"], **_counts(output)}
        if code not in (_ANSWERED, _PARTIAL):
            result["error"] = f"wise-segment ended with {code}; the node's log says why"
    except (Exception, SystemExit) as problem:
        result["error"] = f"{type(problem).__name__}: {problem}"
    return result


def _counts(output: Path) -> dict[str, int]:
    """Of the answers in a shard's folder: rows, failed ones among them, tokens."""
    parts = sorted(output.glob("*.parquet"))
    if not parts:
        return dict(_NONE)
    table = pq.read_table(parts, columns=["status", "completion_tokens", "thinking_tokens"])
    return {
        "rows": table.num_rows,
        "failed": table["status"].to_pylist().count("error"),
        "tokens": sum(filter(None, table["completion_tokens"].to_pylist())),
        "thinking": sum(filter(None, table["thinking_tokens"].to_pylist())),
    }


def _wait_free(output: Path) -> None:
    """A task whose driver was killed may still be about to end: wait until it has let go.

    Raises InputError when it has not after two minutes.
    """
    if not output.exists():
        return
    descriptor = os.open(output, os.O_RDONLY)
    try:
        until_s = time.monotonic() + _FREE_WITHIN_S
        while time.monotonic() < until_s:
            with suppress(InputError):
                claim(descriptor, output)
                return
            time.sleep(0.5)
        claim(descriptor, output)
    finally:
        os.close(descriptor)


def run(args: argparse.Namespace) -> int:
    """Spread the shards, tell how far it is after each, and sum up; gives the exit status."""
    shards = shards_of(args)
    archives = all(one["input"].endswith(ARCHIVES) for one in shards)
    queries = [word for query in args.query for word in ("--query", query)]
    root = ["--image-root", str(args.image_root)] if args.image_root else []
    words = [*args.pass_on, *root, *(queries if archives else [])]
    if args.query and not archives:  # lists have their queries written in them
        mixed = [one for one in shards if one["input"].endswith(ARCHIVES)]
        if mixed:
            raise InputError("Give archives and other inputs in two runs, with an output each")
    at_once = args.shards_at_once or 2 * len(args.url)
    results = ray.data.from_items(shards, override_num_blocks=len(shards)).map(
        ask,
        fn_kwargs={"urls": args.url, "words": words},
        num_cpus=args.cpus_per_shard,
        concurrency=at_once,
    )
    start_s = time.monotonic()
    done: list[dict[str, Any]] = []
    for result in results.iter_rows():
        done.append(result)
        if result["error"]:
            print(f"{result['input']}: {result['error']}", file=sys.stderr)
        print(
            progress_line(done, len(shards), time.monotonic() - start_s),
            file=sys.stderr,
            flush=True,
        )
    if any(one["error"] for one in done):
        return 1
    return _PARTIAL if any(one["failed"] for one in done) else _ANSWERED


def progress_line(done: list[dict[str, Any]], shards: int, elapsed_s: float) -> str:
    """One line: shards, rows, tokens; of this run alone: rate, and from it the time left."""
    rows, failed, tokens, thinking, earlier = (
        sum(one[name] for one in done)
        for name in ("rows", "failed", "tokens", "thinking", "earlier")
    )
    answered = max(1, rows - failed)
    worked = sum(one["rows"] > one["earlier"] for one in done)
    remaining = shards - len(done)
    left = "time left not known yet"
    if worked or not remaining:
        left = f"{elapsed_s / max(1, worked) * remaining / 60:.0f} min left"
    return (
        f"{len(done)} of {shards} shards, {rows} rows ({failed} failed, {earlier} from before), "
        f"{max(0, rows - earlier) / max(elapsed_s, 1e-9):.1f} rows/s, "
        f"{tokens / answered:.1f} tokens/request ({thinking / answered:.1f} thinking), {left}"
    )


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """What comes after `--` goes to each `wise-segment batch`, such as `-- --strategy wise`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", nargs="+", help="inputs, as for wise-segment batch")
    parser.add_argument("--query", action="append", default=[], help="query for every image")
    parser.add_argument(
        "--image-root", type=Path, help="folder to which images' paths are relative"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="a folder that all nodes share"
    )
    parser.add_argument(
        "--url", action="append", required=True, help="a server; may be given several times"
    )
    parser.add_argument(
        "--address", help="of the Ray cluster (default: RAY_ADDRESS, or else local)"
    )
    parser.add_argument("--rows-per-shard", type=int, default=10_000, help="default: 10000")
    parser.add_argument("--shards-at-once", type=int, help="default: two for each server")
    parser.add_argument("--cpus-per-shard", type=float, default=0.5, help="default: 0.5")
    given = sys.argv[1:] if words is None else words
    place = given.index("--") if "--" in given else len(given)
    args = parser.parse_args(given[:place])
    args.pass_on = given[place + 1 :]
    args.output = args.output.absolute()
    args.image_root = args.image_root and args.image_root.absolute()
    return args


if __name__ == "__main__":
    chosen = arguments()
    ray.init(address=chosen.address, log_to_driver=False, include_dashboard=False)
    try:
        sys.exit(run(chosen))
    except InputError as problem:
        print(f"batch.py: {problem.detail}", file=sys.stderr)
        sys.exit(2)
