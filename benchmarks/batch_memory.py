"""Memory of `wise-segment batch` over many inputs, against the gateway on fake models.

All images of the tar or the Parquet file are different, of about 100 kB each, and the answers are
written to Parquet. The process's resident memory is sampled from its first answer to its end,
without the first tenth, in which buffers grow to their size. Then the rows are counted. Prints one
JSON line last. The exit status is 1 if memory grew by more than 5 % from the first quarter to the
last, or if there is not exactly one row for each input.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import bulk_data
from overload import GROWTH_SHARE, memory
from processes import resident_bytes
from running import RunningServer, running_server

_TESTS: Final = Path(__file__).parents[1] / "tests"
_SAMPLE_EVERY_S: Final = 0.1
_MIB: Final = 2**20
_IMAGE_BYTES: Final = 100_000
_ROWS_PER_GROUP: Final = 2000


@contextmanager
def fakes(delay_s: float = 0.0) -> Iterator[RunningServer]:
    """The gateway on fake models, in a process of its own; `delay_s` before each token."""
    paths = os.pathsep.join([str(_TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    script = _TESTS / "process" / "server" / "serve_fakes.py"
    with running_server(script=script, PYTHONPATH=paths, DELAY_S=str(delay_s)) as server:
        yield server


def images(count: int) -> Iterator[bytes]:
    """Different PNG files; bytes after their end make them larger."""
    noise = np.random.default_rng(0)
    for number in range(count):
        yield bulk_data.png(number) + noise.bytes(_IMAGE_BYTES)


def as_tar(folder: Path, count: int) -> Path:
    """Write `count` images as one tar in `folder`; returns its path."""
    members = ((f"{number:08}.png", image) for number, image in enumerate(images(count)))
    return bulk_data.tar(folder / "in.tar", members)


def as_parquet(folder: Path, count: int) -> Path:
    """Write a Parquet file with row groups of about 200 MB, too large to read at once."""
    path = folder / "in.parquet"
    rest = images(count)
    with pq.ParquetWriter(path, pa.schema({"image": pa.binary()}), use_dictionary=False) as writer:
        while group := list(itertools.islice(rest, _ROWS_PER_GROUP)):
            writer.write_table(pa.table({"image": group}))
    return path


def measure(made: Path, folder: Path, url: str, concurrency: int, part: int) -> dict[str, Any]:
    """Run the command on `made`; gives its rows, its rate, and its memory over time."""
    out = folder / f"out-{made.suffix[1:]}"
    words = ["batch", str(made), "--query", "q", "-o", str(out), "--url", url, "--no-progress"]
    words += ["--concurrency", str(concurrency), "--rows-per-part", str(part)]
    command = [sys.executable, "-m", "wise_client.cli.main", *words]
    times: list[float] = []
    sizes: list[float] = []
    with subprocess.Popen(command) as child:
        while child.poll() is None:
            time.sleep(_SAMPLE_EVERY_S)
            if any(out.glob("_pending/*")):
                times.append(time.perf_counter())
                sizes.append(resident_bytes(child.pid) / _MIB)
    rows = pq.read_table(out, columns=["index", "status"])
    return {
        "exit_status": child.returncode,
        "rows": len(rows),
        "distinct": len(set(rows["index"].to_pylist())),
        "found": rows["status"].to_pylist().count("found"),
        "rows_per_s": round(len(rows) / (times[-1] - times[0]), 1),
        "rss_most_mib": round(max(sizes), 1),
        **memory(times, sizes),
    }


def broken(result: dict[str, Any], count: int) -> list[str]:
    """The promises that were broken."""
    kept = {
        "exactly one row each": result["rows"] == result["distinct"] == count,
        "all were answered": result["exit_status"] == 0 and result["found"] == count,
        "memory": result["rss_growth_share"] < GROWTH_SHARE,
    }
    return [name for name, value in kept.items() if not value]


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=10_000, help="inputs (default: 10000)")
    parser.add_argument("--concurrency", type=int, default=8, help="requests at once (default: 8)")
    parser.add_argument("--rows-per-part", type=int, default=1000, help="default: 1000")
    args = parser.parse_args()
    results: dict[str, Any] = {"count": args.count, "image_bytes": _IMAGE_BYTES}
    with tempfile.TemporaryDirectory() as name, fakes() as server:
        folder = Path(name)
        for make in (as_tar, as_parquet):
            made = make(folder, args.count)
            result = measure(made, folder, server.url, args.concurrency, args.rows_per_part)
            results[made.suffix[1:]] = result | {"broken": broken(result, args.count)}
            made.unlink()
    print(json.dumps(results))
    return int(any(results[kind]["broken"] for kind in ("tar", "parquet")))


if __name__ == "__main__":
    sys.exit(main())
