"""Boxes and points whose numbers have names: the names, not their order, decide what they are."""

from collections.abc import Sequence

from wise_serve.reasoner.reading.keys import ROLES, Axis, Role
from wise_serve.reasoner.reading.values import Field, NotUnderstood, Number, says_nothing

_Given = dict[tuple[Axis, Role], Number]


def read_names(fields: Sequence[Field]) -> tuple[Number, ...]:
    """The box (x1, y1, x2, y2) or the point (x, y) that the names of these fields give; empty if
    they give none.

    Raises NotUnderstood for names that are too few, too many or at odds with each other, and for
    values that are not single numbers.
    """
    named = [one for one in fields if one.key.kind == "coordinate" and not _absent(one)]
    if not named or names_nothing(fields):
        return ()
    given = _given(named)
    across, down = _span(given, "x"), _span(given, "y")
    if across and down:
        return across[0], down[0], across[1], down[1]
    if {one.key.name for one in named} == {"x", "y"}:
        return given["x", "low"], given["y", "low"]
    placed = {axis for axis, role in given if role != "size"}
    if len(placed) > 1:
        raise NotUnderstood
    return ()  # a size, or a number that happens to have such a name


def names_nothing(fields: Sequence[Field]) -> bool:
    """Whether coordinates are named, and all of them are null, -1 or 0."""
    named = [one for one in fields if one.key.kind == "coordinate"]
    numbers = {number for one in named for number in one.numbers}
    return bool(named) and all(one.empty for one in named) and says_nothing(numbers)


def _absent(one: Field) -> bool:
    return not one.rows or one.numbers == {None}


def _given(named: Sequence[Field]) -> _Given:
    given: _Given = {}
    zero_based = any(one.key.name in ("x0", "y0") for one in named)  # then x1, y1 are the far ones
    for one in named:
        rows = one.checked_rows()
        number = rows[0][0]
        if len(rows) > 1 or len(rows[0]) > 1 or number is None:
            raise NotUnderstood
        axis, role = ROLES[one.key.name]
        if zero_based and one.key.name in ("x1", "y1"):
            role = "high"
        if given.setdefault((axis, role), number) != number:
            raise NotUnderstood
    return given


def _span(given: _Given, axis: Axis) -> tuple[Number, Number] | None:
    """Both ends of the box along one axis."""
    low, high = given.get((axis, "low")), given.get((axis, "high"))
    center, size = given.get((axis, "center")), given.get((axis, "size"))
    if size is not None and size < 0:
        raise NotUnderstood
    if low is None and center is not None and size is not None:
        low = center - size / 2
    if low is None:
        return None
    if high is None:
        return None if size is None else (low, low + size)
    if size is not None and high - low != size:
        raise NotUnderstood
    return low, high
