"""Finds the boxes of one object of an answer, each with its points.

These forms are understood, alone or mixed (numbers may be strings, lists may be tuples):

    a box        [x1, y1, x2, y2] or [[x1, y1], [x2, y2]], or by names in any order, nested under
                 the box's key or flat: two corners, a corner and a size, a center and a size
    a point      [x, y], several in one list, or {"x": ..., "y": ...}
    more boxes   a list of boxes, with one row of points for each; the key repeated or numbered,
                 with the same number of points for each
    no box       points alone, if the strategy has such objects: all points of the object

Anything else that may be a box or a point is refused (NotUnderstood): a wrong box is worse than
none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wise_serve.reasoner.reading.keys import USUAL_KEYS, Keys
from wise_serve.reasoner.reading.labels import labelled, marks_background
from wise_serve.reasoner.reading.named import names_nothing, read_names
from wise_serve.reasoner.reading.owners import Part, assign
from wise_serve.reasoner.reading.values import (
    BOX_NUMBERS,
    POINT_NUMBERS,
    Box,
    Field,
    NotUnderstood,
    Number,
    Pair,
    RawInstance,
    Row,
    box_of,
    says_nothing,
)

_OTHER_ORDERS: Final = ("xywh", "cxcy", "yxyx", "ltwh", "normali", "percent", "relative")


@dataclass(frozen=True, slots=True)
class Reading:
    """The contents of an object. instances: its boxes. place: the box (4 numbers) or the point (2)
    that its names give, for the key before the object. empty: it says that there is nothing.
    filled: it says otherwise, though no box is understood. unread: it has numbers that are none of
    these. keyless: without a box, it has text or numbers that stand under no key.
    """

    instances: tuple[RawInstance, ...] = ()
    place: tuple[Number, ...] = ()
    empty: bool = False
    filled: bool = False
    unread: bool = False
    keyless: bool = False


def read_object(fields: Sequence[Field], keys: Keys = USUAL_KEYS) -> Reading:
    """Read the fields of one object, in their order; the first has the values without a key.

    Raises NotUnderstood.
    """
    parts = [part for one in fields if (part := _part(one)) is not None]
    keyed = [box for part in parts for box in part.boxes if box is not None]
    _refuse_other_forms(fields, keyed)
    place = _place(fields, keyed)
    flat = [box] if (box := box_of(place)) else []
    loose = [box for one in fields for box in one.named]
    given = [boxes for boxes in (keyed, flat, loose) if boxes]
    if any(boxes != given[0] for boxes in given[1:]):
        raise NotUnderstood  # which of them is meant?
    if not given:
        return _without_box(fields, parts, place, keys)
    if any(map(_says_none, fields)):
        raise NotUnderstood  # a box, not an object
    pointed = any(map(any, (part.points for part in parts)))
    if pointed and any(map(marks_background, fields)):
        raise NotUnderstood
    if not keyed and not loose and not pointed:
        return Reading(place=place)
    if not keyed:
        parts = [part for part in parts if not part.boxes] + [Part(None, tuple(given[0]))]
    elif len(place) == POINT_NUMBERS and not pointed and tuple(place) != keyed[0][:POINT_NUMBERS]:
        parts.append(Part(None, points=(((place[0], place[1]),),)))  # otherwise its corner again
    found = [RawInstance(box, points) for box, points in assign(parts) if box is not None]
    return Reading(labelled(found, fields, keys))


def _place(fields: Sequence[Field], keyed: Sequence[Box]) -> tuple[Number, ...]:
    try:
        return read_names(fields)
    except NotUnderstood:
        if not keyed:
            raise
        return ()  # the box is known; a `left` or `width` beside it means something else


def _without_box(
    fields: Sequence[Field],
    parts: Sequence[Part],
    place: tuple[Number, ...],
    keys: Keys,
) -> Reading:
    """The contents of an object without a box."""
    filled = any(map(_fills, fields))
    if place:
        if keys.lone_points and any(map(_says_none, fields)):
            raise NotUnderstood  # a point, not an object
        return Reading(place=place, filled=filled)
    zeros = any(one.key.kind == "box" and one.numbers - {None} for one in fields)
    if not zeros and any(one.key.kind == "point" and not one.empty for one in fields):
        if not keys.lone_points:
            raise NotUnderstood
        return Reading(labelled([_lone(fields, parts)], fields, keys))
    none_found = names_nothing(fields) or any(
        _says_none(one) or (one.empty and one.key.kind in ("box", "point", "holder"))
        for one in fields
    )
    empty = none_found or all(one.empty for one in fields)
    unread = not empty and any(one.numbers - {None} for one in fields)
    return Reading(empty=empty, filled=filled, unread=unread, keyless=_fills(fields[0]))


def _lone(fields: Sequence[Field], parts: Sequence[Part]) -> RawInstance:
    """The object of these points. Raises NotUnderstood if there may be a box as well, or no
    object."""
    points = tuple(pair for part in parts for row in part.points for pair in row)
    doubtful = any(_says_none(one) or marks_background(one) or _may_be_box(one) for one in fields)
    if doubtful or not points:
        raise NotUnderstood
    return RawInstance(None, points)


def _says_none(one: Field) -> bool:
    """Whether it is an amount or a certainty of 0."""
    return one.key.kind in ("amount", "certainty") and one.numbers == {0}


def _fills(one: Field) -> bool:
    """Whether it says that there is an object, or may be a box under an unknown name."""
    if one.key.kind == "amount":
        return not one.empty and bool(one.rows)
    if one.key.kind == "stray":
        return not one.empty and (one.text is not None or bool(one.rows))
    return _may_be_box(one)


def _may_be_box(one: Field) -> bool:
    """Whether it has the numbers of a box under a key that does not say so."""
    many = sum(map(len, one.rows)) >= BOX_NUMBERS
    return one.key.kind in ("other", "holder") and many and not one.empty


def _refuse_other_forms(fields: Sequence[Field], keyed: Sequence[Box]) -> None:
    """Raises NotUnderstood where a key looks like a box's, or says that numbers mean others."""
    for one in fields:
        many = sum(map(len, one.rows)) >= BOX_NUMBERS or one.named
        if one.key.boxlike and many and not one.empty:
            raise NotUnderstood
        if keyed and one.key.kind == "format" and one.text is not None:
            text = one.text.casefold().replace(" ", "")
            if any(order in text for order in _OTHER_ORDERS):
                raise NotUnderstood


def _part(one: Field) -> Part | None:
    if one.key.kind == "box":
        return Part(one.key.number, _boxes(one))
    if one.key.kind == "point":
        return Part(one.key.number, points=tuple(map(_points, one.checked_rows())))
    return None


def _boxes(one: Field) -> tuple[Box | None, ...]:
    rows = one.checked_rows()
    if one.empty or not rows:
        return (None,)
    if [len(row) for row in rows] == [POINT_NUMBERS, POINT_NUMBERS]:
        rows = [rows[0] + rows[1]]
    return tuple(map(_box, rows))


def _box(row: Row) -> Box | None:
    if len(row) != BOX_NUMBERS:
        raise NotUnderstood
    if says_nothing(set(row)):
        return None
    x1, y1, x2, y2 = row
    if x1 is None or y1 is None or x2 is None or y2 is None:
        raise NotUnderstood
    return x1, y1, x2, y2


def _points(row: Row) -> tuple[Pair, ...]:
    """The points of one row. A point without numbers is left out, and so is (-1, -1), which means
    no point."""
    if len(row) > 1 and len(row) % POINT_NUMBERS:
        raise NotUnderstood
    pairs = zip(row[::2], row[1::2], strict=False)
    return tuple((x, y) for x, y in pairs if x is not None and y is not None and (x, y) != (-1, -1))
