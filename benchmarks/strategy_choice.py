"""Which of the miniature's strategies is best for its tokens: the picture of docs/evaluation.md.

Draws scenes that training never saw to a plain folder, starts a server on the miniature pair, and
runs `wise-segment eval FOLDER --strategies-of-server --warm-up --picture FILE` on them. Prints the
table and the verdict; the verdict as one JSON line last.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from miniature_eval import write_scenes
from running import running_server
from wise_client.cli.main import main as wise_segment

PICTURE = Path(__file__).parents[1] / "docs" / "strategy-choice.svg"


def main() -> int:
    """Write the picture; gives the exit status of the evaluation."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--scenes", type=int, default=100, help="how many (default: 100)")
    parser.add_argument("--seed", type=int, default=2, help="another draw of scenes (default: 2)")
    parser.add_argument("--concurrency", type=int, default=2, help="requests at once (default: 2)")
    parser.add_argument("--picture", type=Path, default=PICTURE, help=f"default: {PICTURE.name}")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_server() as server:
        scenes, report = Path(folder) / "scenes", Path(folder) / "report.json"
        scenes.mkdir()
        write_scenes(scenes, args.scenes, args.seed)
        words = ["eval", str(scenes), "--strategies-of-server", "--url", server.url]
        words += [
            "--warm-up",
            "--concurrency",
            str(args.concurrency),
            "--picture",
            str(args.picture),
        ]
        status = wise_segment([*words, "--json", str(report)])
        print(json.dumps(json.loads(report.read_text())["verdict"]))
    return status


if __name__ == "__main__":
    sys.exit(main())
