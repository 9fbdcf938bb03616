"""Computes how many cards a load needs; it measures nothing.

It computes floating-point operations and bytes from parameters and tokens, and from a card's data
sheet the seconds of the card per request (docs/scaling.md has the formula and its assumptions). The
public models:
Qwen2.5-VL-7B in bfloat16, an image of 840 x 840 pixels, SAM 2 large. Prints a table, then one JSON
line.

    python benchmarks/capacity.py --images-per-s 50 --tokens 73 --card H100
"""

import argparse
import json
import math
from dataclasses import asdict, dataclass
from typing import Final

LANGUAGE_PARAMETERS: Final = 7.6e9
VISION_PARAMETERS: Final = 0.7e9
PATCHES: Final = 3600  # of 14 x 14 pixels, which become 900 tokens
PROMPT_TOKENS: Final = 1065  # measured by benchmarks/rehearsal.py, image included
WEIGHT_BYTES: Final = 2 * LANGUAGE_PARAMETERS
KV_BYTES: Final = 1200 * 57e3  # of a request in flight: docs/operations.md, sizing
# Assumed: the shares of a data sheet's peaks that prefill and decoding reach.
COMPUTE_SHARE: Final = 0.4
BANDWIDTH_SHARE: Final = 0.7
# SAM 2 large, a prompt of points in batches of 8, as torchao published it; assumed to be an H100's,
# and on other cards in proportion to their compute.
SEGMENT_S: Final = 0.0196


@dataclass(frozen=True)
class Card:
    """From the manufacturer's data sheet: dense bfloat16 operations per second, and bytes per
    second."""

    operations_per_s: float
    bytes_per_s: float


CARDS: Final = {
    "L40S": Card(362e12, 0.864e12),
    "A100-80GB": Card(312e12, 2.04e12),
    "H100": Card(989e12, 3.35e12),
    "H200": Card(989e12, 4.8e12),
}


@dataclass(frozen=True)
class Cost:
    """Seconds of a card for one request: prefill, generation, mask."""

    prefill_s: float
    generate_s: float
    segment_s: float

    @property
    def total_s(self) -> float:
        """All of it, on one card that does both models' work."""
        return self.prefill_s + self.generate_s + self.segment_s


def cost_of(card: Card, tokens: float, in_flight: int) -> Cost:
    """tokens: generated, of a request. in_flight: requests that each step of the engine serves."""
    read = 2 * (VISION_PARAMETERS * PATCHES + LANGUAGE_PARAMETERS * PROMPT_TOKENS)
    step_s = (WEIGHT_BYTES + in_flight * KV_BYTES) / (BANDWIDTH_SHARE * card.bytes_per_s)
    segment_s = SEGMENT_S * CARDS["H100"].operations_per_s / card.operations_per_s
    return Cost(
        read / (COMPUTE_SHARE * card.operations_per_s), tokens * step_s / in_flight, segment_s
    )


def cards_for(images_per_s: float, cost: Cost, load: float = 0.7) -> int:
    """The number of cards that serve this rate of requests and are busy for the share `load` of
    their time; at a higher share, waiting times grow quickly."""
    return math.ceil(round(images_per_s * cost.total_s / load, 6))


def main() -> None:
    """Print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images-per-s", type=float, default=50.0)
    parser.add_argument("--tokens", type=float, default=73.0, help="generated, of a request")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--card", choices=sorted(CARDS), help="default: all")
    arguments = parser.parse_args()
    found = {}
    print(
        "| card | prompt | answer | mask | requests a second | cards |\n|---|---|---|---|---|---|"
    )
    for name in [arguments.card] if arguments.card else CARDS:
        cost = cost_of(CARDS[name], arguments.tokens, arguments.in_flight)
        cards = cards_for(arguments.images_per_s, cost)
        parts = [f"{1e3 * part:.0f} ms" for part in (cost.prefill_s, cost.generate_s)]
        print(
            f"| {name} | {' | '.join(parts)} | {1e3 * cost.segment_s:.0f} ms "
            f"| {1 / cost.total_s:.1f} | {cards} |"
        )
        found[name] = {**asdict(cost), "requests_per_s": 1 / cost.total_s, "cards": cards}
    print(json.dumps({"measured": False, **vars(arguments), "cards": found}))


if __name__ == "__main__":
    main()
