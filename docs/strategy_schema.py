"""Writes the JSON schema of strategy files into the package: `make docs`. --check only compares."""

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from wise_serve.reasoner import strategies
from wise_serve.reasoner.strategies.strategy import Strategy

FILE: Final = Path(strategies.__file__).with_name("strategy.schema.json")


def schema() -> str:
    """The schema as text; a file may name it under `$schema`."""
    made = Strategy.model_json_schema()
    made["properties"]["$schema"] = {"type": "string"}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps({**head, **made}, indent=2) + "\n"


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 if it is out of date")
    if parser.parse_args().check:
        return int(FILE.read_text(encoding="utf-8") != schema())
    FILE.write_text(schema(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
