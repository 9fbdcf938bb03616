"""Decides what a closed object is: a box or point of the key before it, or instances."""

from dataclasses import dataclass

from wise_serve.reasoner.reading.keys import Keys
from wise_serve.reasoner.reading.objects import Reading
from wise_serve.reasoner.reading.values import (
    Field,
    NotUnderstood,
    RawInstance,
    box_of,
    lone_point,
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """instances: those that are complete now. filled: the object has a value that is not a box."""

    instances: tuple[RawInstance, ...]
    filled: bool = False


def accept(reading: Reading, parent: Field, keys: Keys, *, outermost: bool) -> Accepted:
    """Add the contents of a closed object to the field around it, or find instances in it.

    outermost: the object is inside no other one. Raises NotUnderstood.
    """
    kind, place, box = parent.key.kind, reading.place, box_of(reading.place)
    if kind == "other" and outermost:
        kind = "stray"  # words before a colon outside all braces, such as "The box is:"
    if (place and kind == ("box" if box else "point")) or (kind == "box" and place):
        parent.end_row()
        parent.rows.append(place)
        return Accepted(())
    parent.children = True
    listed = kind == "other" and parent.depth > 0  # under some name, such as "cups"
    holds_objects = listed or kind in ("stray", "holder")
    if box and holds_objects:
        return Accepted((RawInstance(box, ()),))
    if place and holds_objects and keys.lone_points:
        return Accepted((lone_point(place),))
    if kind in ("box", "point") and any(one.box is None for one in reading.instances):
        raise NotUnderstood  # points of the object around it, or objects themselves?
    if box and kind == "other":
        parent.named.append(box)
    elif place and kind == "other":
        return Accepted(reading.instances, filled=True)
    elif place or (kind in ("box", "point", "coordinate") and reading.unread):
        raise NotUnderstood
    return Accepted(reading.instances)
