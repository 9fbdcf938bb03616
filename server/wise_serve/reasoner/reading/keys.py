"""What a key of an answer names. The lists are closed: any other key does not describe a position.

Upper and lower case, separators, full-width letters and a number at the end make no difference:
`Bounding Box`, `boundingBox`, `bbox_2d`, `ｂｂｏｘ` and `bbox_1` are boxes. `box_id`, `box_count`,
`boxed` and a label that happens to contain the word are not.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

Axis = Literal["x", "y"]
Role = Literal["low", "high", "center", "size"]
KeyKind = Literal[
    "box", "point", "point label", "coordinate", "amount", "certainty", "holder", "format", "other",
    "stray",
]  # fmt: skip

_LONGEST: Final = 64  # characters; a longer text is not a key in these lists
_SEPARATORS: Final = re.compile(r"[\W_]+")
_PLACE: Final = r"(?:2d)?(?:coords?|coordinates?|xyxy)?(?P<number>\d{0,3})"
_BOX: Final = re.compile(rf"(?:b|bnd|bounding)?box(?:e?s)?{_PLACE}")
_POINT: Final = re.compile(rf"points?{_PLACE}")

_COORDINATES: Final[dict[Role, tuple[str, str]]] = {
    "low": ("x xmin minx x1 x0 xtl left xleft leftx", "y ymin miny y1 y0 ytl top ytop topy"),
    "high": ("xmax maxx x2 xbr right xright rightx", "ymax maxy y2 ybr bottom ybottom bottomy"),
    "center": ("cx xc xcenter centerx xcentre centrex", "cy yc ycenter centery ycentre centrey"),
    "size": ("w width boxwidth bboxwidth", "h height boxheight bboxheight"),
}
_AXES: Final[tuple[Axis, Axis]] = ("x", "y")
ROLES: Final[dict[str, tuple[Axis, Role]]] = {
    name: (axis, role)
    for role, (xs, ys) in _COORDINATES.items()
    for axis, names in zip(_AXES, (xs, ys), strict=True)
    for name in names.split()
}
# Kinds of keys by their names. An amount or a certainty of 0 (or false) means that nothing was
# found, and so does an empty list of the objects.
_NAMED: Final[dict[KeyKind, str]] = {
    "amount": "count counts num total numobjects objectcount objectscount numberofobjects "
    "numinstances instancecount numtargets targetcount boxcount numboxes bboxcount found exists "
    "exist present detected hastarget",
    "certainty": "confidence conf score probability prob certainty",
    "holder": "object objects instance instances result results target targets detection "
    "detections answer answers output outputs items prediction predictions",
}
_KINDS: Final[dict[str, KeyKind]] = {
    **dict.fromkeys(ROLES, "coordinate"),
    **{name: kind for kind, names in _NAMED.items() for name in names.split()},
}
_FORMATS: Final = ("format", "mode", "order", "unit", "units")


@dataclass(frozen=True, slots=True)
class Key:
    """A key.

    name: lower case, without separators.
    number: the one that it ends with, if it is a box or a point.
    """

    name: str
    kind: KeyKind
    number: int | None = None

    @property
    def matters(self) -> bool:
        """Whether its value says where an object is, or that there is none."""
        return self.kind not in ("format", "other", "stray")

    @property
    def boxlike(self) -> bool:
        """Whether it may be a box by a name that is not in the list, such as `bbox_xywh`."""
        return self.kind == "other" and "box" in self.name


STRAY: Final = Key("", "stray")  # stands for "no key", for values without one


@dataclass(frozen=True, slots=True)
class Keys:
    """A strategy's names of keys, in addition to the closed lists above.

    boxes, points: other names of them, alone or numbered. labels: keys of text, even if the lists
    have their names. point_labels: keys of a label for each point. lone_points: whether points
    without a box are an object. as_tags: whether keys are written as tags, `<bbox>...</bbox>`.
    """

    boxes: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    point_labels: tuple[str, ...] = ()
    lone_points: bool = False
    as_tags: bool = False

    def read(self, text: str) -> Key:
        """Read a quoted or bare text before a colon as a key."""
        return _read(self, text)


USUAL_KEYS: Final = Keys()


@lru_cache(maxsize=1024)
def _read(keys: Keys, text: str) -> Key:
    if len(text) > _LONGEST:
        return Key("", "other")
    name = _plain(text)
    if name in map(_plain, keys.point_labels):
        return Key(name, "point label")
    if name in map(_plain, keys.labels):
        return Key(name, "other")
    for kind, pattern, names in (("box", _BOX, keys.boxes), ("point", _POINT, keys.points)):
        own = "|".join(map(re.escape, map(_plain, names))) or "(?!)"
        found = pattern.fullmatch(name) or re.fullmatch(rf"(?:{own})(?P<number>\d{{0,3}})", name)
        if found:
            number = int(found["number"]) if found["number"] else None
            return Key(name, "box" if kind == "box" else "point", number)
    return Key(name, _KINDS.get(name, "format" if name.endswith(_FORMATS) else "other"))


def _plain(text: str) -> str:
    return _SEPARATORS.sub("", unicodedata.normalize("NFKC", text).casefold())
