"""Assigns points to boxes if one object has several boxes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wise_serve.reasoner.reading.values import Box, NotUnderstood, Pair

Owned = tuple[Box | None, tuple[Pair, ...]]


@dataclass(frozen=True, slots=True)
class Part:
    """A field of boxes (None where it is empty), or one of points, by row.

    number: the one its key ends with.
    """

    number: int | None
    boxes: tuple[Box | None, ...] = ()
    points: tuple[tuple[Pair, ...], ...] = ()


def assign(parts: Sequence[Part]) -> list[Owned]:
    """Each box with its own points. Raises NotUnderstood if their box is not certain."""
    boxed = [part for part in parts if part.boxes]
    boxes = [box for part in boxed for box in part.boxes]
    pointed = [part for part in parts if any(part.points)]
    if len(boxes) == 1 or not pointed:
        return [(box, _pairs(pointed)) for box in boxes]
    if len(boxed) == 1:
        if any(len(part.points) != len(boxes) for part in pointed):
            raise NotUnderstood
        return [
            (box, tuple(pair for part in pointed for pair in part.points[at]))
            for at, box in enumerate(boxes)
        ]
    ways = [way for way in (_by_order(parts), _by_number(parts)) if way is not None]
    if len(boxed) != len(boxes) or not ways or ways[0] != ways[-1]:
        raise NotUnderstood
    return ways[0]


def _by_order(parts: Sequence[Part]) -> list[Owned] | None:
    """Points belong to the box before them, or, if a point comes first, to the box after them."""
    forwards = bool(parts[0].boxes)
    groups: list[list[Part]] = []
    for part in parts if forwards else reversed(parts):
        if part.boxes:
            groups.append([part])
        elif groups:
            groups[-1].append(part)
        else:
            return None
    if not forwards:
        groups = [[group[0], *reversed(group[1:])] for group in reversed(groups)]
    return _joined(groups)


def _by_number(parts: Sequence[Part]) -> list[Owned] | None:
    """Points belong to the box whose key has the same number."""
    groups = {part.number: [part] for part in parts if part.boxes}
    if None in groups or len(groups) != sum(1 for part in parts if part.boxes):
        return None
    for part in parts:
        if not part.boxes:
            if part.number not in groups:
                return None
            groups[part.number].append(part)
    return _joined(groups.values())


def _joined(groups: Iterable[Sequence[Part]]) -> list[Owned] | None:
    if len({len(group) for group in groups}) != 1:
        return None
    return [(group[0].boxes[0], _pairs(group[1:])) for group in groups]


def _pairs(parts: Sequence[Part]) -> tuple[Pair, ...]:
    return tuple(pair for part in parts for row in part.points for pair in row)
