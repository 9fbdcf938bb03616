"""A rehearsal of serving the public checkpoints: everything is real except the weights.

Writes a checkpoint in the published form of Qwen2.5-VL-7B with few layers, and a SAM 2 in the
hub's cache (`rehearsal_checkpoint.py`), serves both offline on the CPU, and checks what the
miniature cannot show: the published vocabulary of 151,643 tokens, 900 tokens an image, tags and
letters that are split over tokens, coordinates in the square of 840 pixels, memory, time to start.
`--small` uses narrower layers and SAM 2 tiny, and takes about a minute on two cores instead of a
quarter of an hour. Exit status 1 if a check fails. One JSON line comes last.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
from tqdm import tqdm
from transformers import AutoTokenizer

from rehearsal_checkpoint import write_reasoner, write_segmenter
from rehearsal_checks import Finding, Questions, checked, report
from rehearsal_published import FULL, SMALL
from rehearsal_texts import scripts
from running import running_server
from wise_serve.settings import Settings

SERVER = Path(__file__).with_name("rehearsal_server.py")
MAX_TOKENS = 160
READY_WITHIN_S = 900.0
CHECK_WITHIN_S = 120.0
MEMORY_MARGIN = 0.15
GIB = 2**30
# Small caches, so that the measured memory is that of the models.
FLAGS = (
    *("--device", "cpu", "--structured-answers"),
    *("--max-thinking-tokens", str(MAX_TOKENS), "--request-deadline-s", "900"),
    *("--kv-cache-bytes", str(128 * 2**20), "--engine-image-cache-bytes", str(64 * 2**20)),
    *("--startup-deadline-s", str(READY_WITHIN_S)),
)


@dataclass
class Watched:
    """most_bytes: the largest sum of the processes' proportional set sizes so far.
    bytes_by_process: what each held then, in the order of their start."""

    most_bytes: int = 0
    bytes_by_process: list[int] = field(default_factory=list)


@contextmanager
def watching(pid: int) -> Iterator[Watched]:
    """Watches the memory of a process and its descendants; shared memory is counted once."""
    seen, ended = Watched(), threading.Event()

    def look() -> None:
        while not ended.wait(0.5):
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                family = [process, *process.children(recursive=True)]
                sizes = [one.memory_full_info().pss for one in family]
                if sum(sizes) > seen.most_bytes:
                    seen.most_bytes, seen.bytes_by_process = sum(sizes), sizes

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def preflight(flags: list[str], environment: dict[str, str]) -> tuple[Finding, int]:
    """`wise-serve check` with the server's flags: whether it passes, and the bytes it computes."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "wise_serve", "check", "--json", "--port", "0", *flags],
        capture_output=True,
        text=True,
        timeout=CHECK_WITHIN_S,
        env={**os.environ, **environment},
    )
    took_s = time.monotonic() - begun
    memory = checked(done.stdout)["memory"]
    number, unit = re.match(r"([\d.]+) (GiB|MiB) needed", memory).groups()  # type: ignore[union-attr]
    need = int(float(number) * (GIB if unit == "GiB" else 2**20))
    found = f"exit status {done.returncode} after {took_s:.0f} s; memory: {memory}"
    return Finding("wise-serve check", done.returncode == 0, found), need


def memory(held: Watched, computed_bytes: int, *, small: bool) -> Finding:
    """Compare the memory in use with the computed memory.

    With the small form, most of the computed memory is the allowance for activations, so that it is
    only an upper bound.
    """
    share = held.most_bytes / computed_bytes
    ok = share <= 1 + MEMORY_MARGIN and (small or share >= 1 - MEMORY_MARGIN)
    each = " + ".join(f"{size / GIB:.2f}" for size in held.bytes_by_process)
    found = f"{each} GiB at most, {computed_bytes / GIB:.1f} computed: {share:.2f}x"
    return Finding("memory", ok, found)


def startup(ready_s: float) -> Finding:
    """Against the default deadline."""
    deadline_s = Settings().startup_deadline_s
    found = f"{ready_s:.0f} s to ready, {deadline_s:.0f} s allowed by default"
    return Finding("startup", ready_s < deadline_s, found)


def rehearse(folder: Path, *, small: bool) -> list[Finding]:
    """Run every check. `folder` is empty and has room for 5 GB (small: 0.4 GB)."""
    form = SMALL if small else FULL
    reasoner, hub = folder / "reasoner", folder / "hub"
    reasoner.mkdir()
    with tqdm(total=2, desc="checkpoints") as progress:
        write_reasoner(reasoner, form)
        progress.update()
        write_segmenter(hub, form.segmenter)
        progress.update()
    written = folder / "texts.json"
    written.write_text(json.dumps(scripts(AutoTokenizer.from_pretrained(reasoner))))
    flags = ["--reasoner", str(reasoner), "--segmenter", form.segmenter, *FLAGS]
    environment = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(hub)}
    looked, computed_bytes = preflight(flags, environment)
    print("starting the server...", file=sys.stderr)
    begun = time.monotonic()
    with running_server(
        str(written), "--port", "0", *flags,
        script=SERVER, ready_within_s=READY_WITHIN_S, **environment,
    ) as server:  # fmt: skip
        ready_s = time.monotonic() - begun
        with watching(server.pid) as watched:
            found = Questions(server.url, reasoner).findings(form.segmenter, MAX_TOKENS)
    held = memory(watched, computed_bytes, small=small)
    return [looked, startup(ready_s), *found, held]


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--small", action="store_true", help="narrow layers and SAM 2 tiny")
    args = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        findings = rehearse(Path(folder), small=args.small)
    print(report(findings))
    took_s = round(time.monotonic() - begun)
    failed = not all(finding.ok for finding in findings)
    found = [asdict(finding) for finding in findings]
    print(json.dumps({"small": args.small, "took_s": took_s, "findings": found}))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
