"""Which worker, or replica, an image goes to.

It uses rendezvous hashing: each place gets a score from its name and the image's digest, and the
image goes to the place with the highest score. So all requests about an image go to the place that
has its embedding, without a shared table, and if a place is lost, only its own images move. The
load is bounded: if a place has more than its share, the image goes to the place with the next
score, which is the same one each time.
"""

import math
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Final

# A place accepts at most this many times the mean load ...
LOAD_FACTOR: Final = 1.25
# ... but always this many: at low load, encoding an image again costs more than waiting.
LEAST_BOUND: Final = 4


def ranked(digest: str, names: Iterable[str]) -> list[str]:
    """The places, by descending score for an image."""
    return sorted(names, key=lambda name: _score(digest, name), reverse=True)


def place(digest: str, loads: Mapping[str, int]) -> str:
    """The place for an image.

    loads: requests in flight by place; those alone that are alive, at least one.
    """
    return in_order(digest, loads)[0]


def in_order(digest: str, loads: Mapping[str, int], attempt: int = 0) -> list[str]:
    """All places, in the order in which a call about an image should try them.

    loads: as of `place`. The image's places that are not full come first, in their order, then the
    others by their load. attempt: how often the call was sent before: each time, another place
    comes first.
    """
    bound = load_bound(sum(loads.values()), max(1, len(loads)))
    free = [name for name in ranked(digest, loads) if loads[name] < bound]
    first = attempt % max(1, len(free))
    full = sorted((name for name in loads if loads[name] >= bound), key=loads.__getitem__)
    return free[first:] + free[:first] + full


def load_bound(total: int, places: int) -> int:
    """Requests in flight from which a place counts as full; `total`: those of all places."""
    return max(LEAST_BOUND, math.ceil(LOAD_FACTOR * (total + 1) / places))


def _score(digest: str, name: str) -> bytes:
    return blake2b(f"{name}\0{digest}".encode(), digest_size=8).digest()
