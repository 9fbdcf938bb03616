"""One part of `gpu.py` in a process of its own, and what all parts are given."""

import argparse
import importlib
import json
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PARTS = ("segmenter", "server", "reasoning")


@dataclass(frozen=True)
class Options:
    """What a part is run with.

    device: cuda or cpu. small: small models. compiled: compile SAM 2, too. repeats: of each
    timing. in_flight: requests at the server, and at vLLM, at once. vllm: whether vLLM may be used
    where it is installed. until: a reading of `time.monotonic()`, the same in all processes of a
    machine, at which the part is ended. result: the file of its figures.
    """

    device: str
    small: bool
    compiled: bool
    repeats: int
    in_flight: int
    vllm: bool
    until: float
    result: Path

    @property
    def left_s(self) -> float:
        """Time that is left, seconds."""
        return self.until - time.monotonic()

    def save(self, figures: dict[str, Any]) -> None:
        """Keep what was found so far: a part that is ended loses nothing of it."""
        new = self.result.with_suffix(".new")
        new.write_text(json.dumps(figures))
        new.replace(self.result)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("options", help="the fields of Options, as a JSON object")
    args = parser.parse_args()
    # So that what a part has opened is closed: a server above all.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    fields = json.loads(args.options)
    # Imported here: each part brings libraries that the others do without, or that are missing.
    part = importlib.import_module(f"gpu_{args.part}")
    part.run(Options(**{**fields, "result": Path(fields["result"])}))


if __name__ == "__main__":
    main()
