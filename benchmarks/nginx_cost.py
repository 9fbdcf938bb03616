"""What nginx adds to a request: one server, asked directly and through deploy/nginx, in turn.

    python benchmarks/nginx_cost.py

The packaged miniature, one caller and then eight, the same scenes for both; the images are in the
body, which nginx buffers. Needs Debian's nginx. Callers, nginx and the server share the machine.
The last line is one JSON object.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from balancer import running_nginx
from in_turn import in_turn
from running import running_server


def main() -> None:
    """Measure, print as it goes, and all of it in the last line."""
    parser = argparse.ArgumentParser(description="What nginx adds to a request.")
    parser.add_argument("--rounds", type=int, default=6, help="of each way; default: 6")
    args = parser.parse_args()

    def show(found: Any) -> None:
        print(json.dumps(found), flush=True)

    with running_server() as server, tempfile.TemporaryDirectory() as folder:
        # nginx's workers, which have a user of their own, keep bodies here
        Path(folder).chmod(0o755)
        with running_nginx(Path(folder), [server.url]) as url:
            found = in_turn({"directly": server.url, "through_nginx": url}, args.rounds, show)
    show({"benchmark": "nginx_cost", **found})


if __name__ == "__main__":
    main()
