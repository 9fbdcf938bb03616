"""What the starting point of WISE in miniature is shown: long thinking of many lengths.

A rationale is one sentence that names what fits (and, for a relation, what it goes by) among five
that say nothing about the image. Two to five of those are kept, so the lengths spread; a rationale
with fewer, which is the concise one, is never shown. All words are in the miniature's vocabulary.
"""

import numpy as np

from miniature.queries import Query
from miniature.rationales import Response, answer, find_mentions, place
from miniature.scenes import Scene

BEFORE = (
    "the question names the thing that it asks for by what it looks like.",
    "i compare the colour and the form of every shape, one after the other.",
    "i look at the whole picture again, from the left to the right.",
)
AFTER = ("the others fit less well.", "so this is the answer.")
KEPT_SHARE = 0.75  # of the sentences that say nothing, each on its own
LEAST_KEPT = 2


def long_response(
    scene: Scene, query: Query, image_size: int, rng: np.random.Generator, *, explained: bool
) -> Response:
    """`<think>long</think><answer>..</answer>`, and if `explained` `<d_think>`, which has all."""
    text = f"<think>{_rationale(scene, query, _draw(rng))}</think>"
    text += f"<answer>{answer('wise', scene, query, image_size)}</answer>"
    if explained:
        everything = (True,) * (len(BEFORE) + len(AFTER))
        text += f"<d_think>{_rationale(scene, query, everything)}</d_think>"
    return find_mentions(text, complete=explained)


def _draw(rng: np.random.Generator) -> tuple[bool, ...]:
    while True:
        kept = rng.random(len(BEFORE) + len(AFTER)) < KEPT_SHARE
        if kept.sum() >= LEAST_KEPT:
            return tuple(kept.tolist())


def _rationale(scene: Scene, query: Query, kept: tuple[bool, ...]) -> str:
    parts = [part for part, keep in zip(BEFORE, kept, strict=False) if keep]
    if query.anchor is not None:
        parts.append(f"the one to go by is the {place(scene, query.anchor)}.")
    parts.append(f"what fits best is the {place(scene, query.targets[0])}.")
    parts += [part for part, keep in zip(AFTER, kept[len(BEFORE) :], strict=True) if keep]
    return " ".join(parts)
