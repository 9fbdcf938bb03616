"""Sentences about a scene that mean exactly one of its shapes, or none of them.

Families: attribute ("the red circle"), extremum ("the largest shape"), relation ("the shape left of
the blue square"), likeness ("the one that could roll"), absent (names something that is not there),
and plural ("all circles", for strategies that answer with several objects). A query without a clear
answer (two shapes of nearly the same size) is not asked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from miniature.scenes import COLOURS, KINDS, Scene, Shape
from miniature.wording import dress, likeness_phrase, noun_phrase, pick
from miniature.words import PLURAL_WORDS, RELATIONS, SUPERLATIVE_CLAUSES, SUPERLATIVES

FAMILIES = ("attribute", "extremum", "relation", "likeness", "absent")

SIDES = ("left", "right", "above", "below")
MARGIN = 0.04  # how clearly a shape must lie on one side of another, as a share of the image's side


@dataclass(frozen=True)
class Query:
    """A sentence and the indices of the shapes that it means.

    `anchor`: in a relation, the shape to which the meant one is related. `form`: the family whose
    words the sentence has. For an absent thing that is "attribute" or "likeness", because the
    start of a rationale must not reveal that nothing is there.
    """

    text: str
    family: str
    targets: tuple[int, ...]
    anchor: int | None = None
    form: str = ""


def make_query(scene: Scene, rng: np.random.Generator, family: str) -> Query | None:
    """A query of the family, or None if this draw finds no clear one."""
    made = _MAKERS[family](scene, rng)
    if made is None:
        return None
    return Query(dress(rng, made.text), family, made.targets, made.anchor, made.form or family)


class Made(NamedTuple):
    """A sentence before it is varied; the rest as in `Query`."""

    text: str
    targets: tuple[int, ...]
    anchor: int | None = None
    form: str = ""


def _matching(scene: Scene, colour: str | None = None, kind: str | None = None) -> tuple[int, ...]:
    return tuple(
        i
        for i, shape in enumerate(scene.shapes)
        if (colour is None or shape.colour == colour) and (kind is None or shape.kind == kind)
    )


def _describe(
    scene: Scene, rng: np.random.Generator, index: int
) -> tuple[str | None, str | None] | None:
    """Colour and/or kind that name this shape and no other; None if nothing does."""
    shape = scene.shapes[index]
    options: list[tuple[str | None, str | None]] = [
        (shape.colour, shape.kind), (shape.colour, shape.kind), (shape.colour, shape.kind),
        (shape.colour, None), (None, shape.kind),
    ]  # fmt: skip
    clear = [option for option in options if len(_matching(scene, *option)) == 1]
    return clear[int(rng.integers(len(clear)))] if clear else None


def _attribute(scene: Scene, rng: np.random.Generator) -> Made | None:
    index = int(rng.integers(len(scene.shapes)))
    described = _describe(scene, rng, index)
    return Made(f"the {noun_phrase(rng, *described)}", (index,)) if described else None


def _scores(scene: Scene) -> dict[str, list[float]]:
    width, height = scene.image.size
    shapes = scene.shapes
    return {
        "largest": [s.area / max(t.area for t in shapes) for s in shapes],
        "smallest": [-s.area / min(t.area for t in shapes) for s in shapes],
        "leftmost": [-s.centre[0] / width for s in shapes],
        "rightmost": [s.centre[0] / width for s in shapes],
        "topmost": [-s.centre[1] / height for s in shapes],
        "lowest": [s.centre[1] / height for s in shapes],
    }


def _extremum(scene: Scene, rng: np.random.Generator) -> Made | None:
    which = pick(rng, list(SUPERLATIVES))
    scores = _scores(scene)[which]
    among = tuple(range(len(scores)))
    colour: str | None = None
    kind: str | None = None
    if rng.random() < 0.25:  # "the largest circle": among those of one kind or colour only
        shape = scene.shapes[int(rng.integers(len(scores)))]
        colour, kind = ((None, shape.kind), (shape.colour, None))[int(rng.integers(2))]
        among = _matching(scene, colour, kind)
    ranked = sorted(among, key=lambda i: scores[i], reverse=True)
    clear = 0.12 if which in ("largest", "smallest") else MARGIN
    if len(ranked) > 1 and scores[ranked[0]] - scores[ranked[1]] < clear:
        return None
    if rng.random() < 0.65:
        text = f"the {pick(rng, SUPERLATIVES[which])} {noun_phrase(rng, colour, kind)}"
    else:
        text = f"the {noun_phrase(rng, colour, kind)} {pick(rng, SUPERLATIVE_CLAUSES[which])}"
    return Made(text, (ranked[0],))


def _holds(scene: Scene, relation: str, index: int, anchor: int) -> float:
    """How clearly `index` is in the relation to `anchor`, in image sides; below 0: it is not."""
    width, height = scene.image.size
    (x, y), (ax, ay) = scene.shapes[index].centre, scene.shapes[anchor].centre
    return {"left": (ax - x) / width, "right": (x - ax) / width,
            "above": (ay - y) / height, "below": (y - ay) / height}[relation]  # fmt: skip


def _nearest(scene: Scene, among: Sequence[int], anchor: int) -> int | None:
    ax, ay = scene.shapes[anchor].centre
    away = sorted(
        (float(np.hypot(scene.shapes[i].centre[0] - ax, scene.shapes[i].centre[1] - ay)), i)
        for i in among
    )
    if len(away) > 1 and away[1][0] < 1.15 * away[0][0]:
        return None
    return away[0][1]


def _relation(scene: Scene, rng: np.random.Generator) -> Made | None:
    anchor = int(rng.integers(len(scene.shapes)))
    described = _describe(scene, rng, anchor)
    relation = pick(rng, (*SIDES, *SIDES, "nearest"))
    others = [i for i in range(len(scene.shapes)) if i != anchor]
    if described is None:
        return None
    colour: str | None = None
    kind: str | None = None
    if rng.random() < 0.3:  # "the circle left of the blue square"
        shape = scene.shapes[others[int(rng.integers(len(others)))]]
        colour, kind = ((None, shape.kind), (shape.colour, shape.kind))[int(rng.integers(2))]
        others = [i for i in others if i in _matching(scene, colour, kind)]
    if relation == "nearest":
        target = _nearest(scene, others, anchor)
    else:
        clear = [_holds(scene, relation, i, anchor) for i in others]
        if any(abs(value) < MARGIN for value in clear):
            return None
        holding = [i for i, value in zip(others, clear, strict=True) if value > 0]
        target = holding[0] if len(holding) == 1 else None
    if target is None:
        return None
    beside = f"{pick(rng, RELATIONS[relation])} the {noun_phrase(rng, *described)}"
    return Made(f"the {noun_phrase(rng, colour, kind)} {beside}", (target,), anchor)


def _likeness(scene: Scene, rng: np.random.Generator) -> Made | None:
    index = int(rng.integers(len(scene.shapes)))
    shape = scene.shapes[index]
    described = _describe(scene, rng, index)
    if described is None:
        return None
    colour = shape.colour if described[0] else None
    kind = shape.kind if described[1] else None
    return Made(likeness_phrase(rng, colour, kind), (index,))


def _absent(scene: Scene, rng: np.random.Generator) -> Made | None:
    """A query for an absent thing: its colour, its kind, or only their combination is absent."""
    colour: str | None = pick(rng, list(COLOURS))
    kind: str | None = pick(rng, KINDS)
    draw = rng.random()
    if draw < 0.45:  # the hard case: both are there, on different shapes
        colour = scene.shapes[int(rng.integers(len(scene.shapes)))].colour
        if draw < 0.3:
            kind = scene.shapes[int(rng.integers(len(scene.shapes)))].kind
    elif draw < 0.65:
        colour, kind = ((colour, None), (None, kind))[int(rng.integers(2))]
    if _matching(scene, colour, kind):
        return None
    if rng.random() < 0.8:
        return Made(f"the {noun_phrase(rng, colour, kind)}", (), form="attribute")
    return Made(likeness_phrase(rng, colour, kind), (), form="likeness")


def _plural(scene: Scene, rng: np.random.Generator) -> Made | None:
    """A query for all shapes of a kind or a colour, or for all shapes; from left to right."""
    shape = scene.shapes[int(rng.integers(len(scene.shapes)))]
    colour, kind = ((None, shape.kind), (shape.colour, None), (None, None))[int(rng.integers(3))]
    found = sorted(_matching(scene, colour, kind), key=lambda i: scene.shapes[i].centre[0])
    named = f"{colour} {kind or 'shape'}s" if colour else f"{kind or 'shape'}s"
    return Made(f"{pick(rng, PLURAL_WORDS)} {named}", tuple(found))


_MAKERS: dict[str, Callable[[Scene, np.random.Generator], Made | None]] = {
    "attribute": _attribute,
    "extremum": _extremum,
    "relation": _relation,
    "likeness": _likeness,
    "absent": _absent,
    "plural": _plural,
}


def described_shape(shape: Shape) -> str:
    """Its plain name, as the rationales use it: "red circle"."""
    return f"{shape.colour} {shape.kind}"
