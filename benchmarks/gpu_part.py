"""One part of `gpu.py` in a process of its own, and the options of all parts."""

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

    device: cuda or cpu. small: small models. compiled: also compile SAM 2. repeats: of each timing.
    in_flight: requests at the same time, to the server and to vLLM. vllm: use vLLM if it is
    installed. until: the value of `time.monotonic()` at which the part is ended; all processes of a
    machine have the same clock. result: the file of its figures.
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
        """Write the figures found so far, so that they are kept if the part is ended."""
        new = self.result.with_suffix(".new")
        new.write_text(json.dumps(figures))
        new.replace(self.result)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("options", help="the fields of Options, as a JSON object")
    args = parser.parse_args()
    # So that a part can close what it opened, such as a server.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    fields = json.loads(args.options)
    # Imported here: each part needs other libraries, some of which may be missing.
    part = importlib.import_module(f"gpu_{args.part}")
    part.run(Options(**{**fields, "result": Path(fields["result"])}))


if __name__ == "__main__":
    main()
