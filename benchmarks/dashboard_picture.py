"""Draws docs/tokens-dashboard.png: a server, a Prometheus, requests of all strategies, the picture.

By default it serves the miniature pair, which takes minutes on two cores. With --url it uses a
running server; its counts then include what it answered before.
"""

import argparse
from contextlib import ExitStack
from pathlib import Path

from monitoring import load, running_prometheus, wait_for
from render import PICTURE, render
from running import running_server


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--url", help="a running server; by default one is started")
    parser.add_argument("--requests", type=int, default=120, help="how many to send (default: 120)")
    parser.add_argument("--output", type=Path, default=PICTURE, help="where to write it")
    args = parser.parse_args()
    with ExitStack() as stack:
        url = args.url or stack.enter_context(running_server()).url
        prometheus = stack.enter_context(running_prometheus(url))
        load(url, args.requests)
        scraped = f"sum(wise_thinking_tokens_count) >= {args.requests}"
        if wait_for(prometheus, [scraped], within_s=20):
            raise SystemExit("Prometheus did not scrape all requests.")
        render(prometheus, args.output, args.url or "the miniature pair")
    print(args.output)


if __name__ == "__main__":
    main()
