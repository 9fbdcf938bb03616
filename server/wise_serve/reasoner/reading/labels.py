"""Labels of points, as SAM's prompts have them: 1 on the object, 0 off it.

A strategy names the keys of such labels. If it names none, a label of 0 is refused: without the
label, the point would be used as a point on the object.
"""

from collections.abc import Sequence
from dataclasses import replace

from wise_serve.contract.prompts import BACKGROUND, FOREGROUND
from wise_serve.reasoner.reading.keys import Keys
from wise_serve.reasoner.reading.values import Field, NotUnderstood, RawInstance


def labelled(
    found: Sequence[RawInstance], fields: Sequence[Field], keys: Keys
) -> tuple[RawInstance, ...]:
    """The instances of one object, with labels if the strategy has labels.

    If the number of labels differs from that of points, the points are dropped, as in Seg-R1's own
    evaluation. Raises NotUnderstood where nothing is left that says where the object is.
    """
    if not keys.point_labels or not any(one.points for one in found):
        return tuple(found)
    if len(found) > 1:
        raise NotUnderstood  # whose labels are they?
    (one,) = found
    labels = _labels(fields)
    kept = {"labels": labels} if len(labels) == len(one.points) else {"points": ()}
    one = replace(one, **kept)
    if one.box is None and FOREGROUND not in one.labels:
        raise NotUnderstood
    return (one,)


def _labels(fields: Sequence[Field]) -> tuple[int, ...]:
    """Every label of the object, in order. Raises NotUnderstood for any other number."""
    numbers = [
        number
        for one in fields
        if one.key.kind == "point label"
        for row in one.checked_rows()
        for number in row
    ]
    if any(number not in (FOREGROUND, BACKGROUND) for number in numbers):
        raise NotUnderstood
    return tuple(int(number or 0) for number in numbers)


def marks_background(one: Field) -> bool:
    """Whether it labels a point as background under a key that the strategy does not name."""
    if one.key.kind == "point label":
        return False
    many = sum(map(len, one.rows)) > 1 or one.key.name.startswith("point")
    return one.key.name.endswith(("label", "labels")) and many and BACKGROUND in one.numbers
