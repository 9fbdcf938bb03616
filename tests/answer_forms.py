"""Answers as reasoning models write them, drawn by hypothesis together with what they mean.

A form is drawn piece by piece: the script and the quotes of the whole answer, how each box and
point is spelled, which other keys stand beside them, what holds the objects, and what stands
around the answer. Everything drawn here has one meaning, which is drawn first.
"""

from collections.abc import Sequence
from typing import Final

from hypothesis import strategies as st

from spellings import Draw, Meant, Spelling, lone, meant, spellings, texts


def extra(draw: Draw, spelling: Spelling) -> str:
    """A key that says nothing of where the object is."""
    text = spelling.quoted(draw(texts))
    number = spelling.number
    return draw(
        st.sampled_from(
            [
                spelling.member("label", text),
                spelling.member("box_id", number(7)),
                spelling.member("box_count", number(1)),
                spelling.member("boxed", "true"),
                spelling.member("viewpoint", text),
                spelling.member("gift box", text),
                spelling.member("confidence", number(1)),
                spelling.member("attributes", spelling.listed([text, text])),
                spelling.member("source", spelling.object([spelling.member("bbox note", text)])),
                spelling.member("image_size", spelling.listed([number(640), number(480)])),
            ]
        )
    )


NAMED_CORNERS: Final = (
    ("x1", "y1", "x2", "y2"),
    ("x0", "y0", "x1", "y1"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("minX", "minY", "maxX", "maxY"),
    ("left", "top", "right", "bottom"),
    ("Left", "Top", "Right", "Bottom"),
)
NAMED_SIZES: Final = (
    ("x", "y", "width", "height"),
    ("x", "y", "w", "h"),
    ("left", "top", "width", "height"),
    ("xmin", "ymin", "w", "h"),
)


def named_members(draw: Draw, spelling: Spelling, box: tuple[int, int, int, int]) -> list[str]:
    """The box by names, in any order."""
    x1, y1, x2, y2 = box
    corners = draw(st.booleans())
    names = draw(st.sampled_from(NAMED_CORNERS if corners else NAMED_SIZES))
    values = box if corners else (x1, y1, x2 - x1, y2 - y1)
    pairs = draw(st.permutations(list(zip(names, values, strict=True))))
    return [spelling.member(name, spelling.number(value)) for name, value in pairs]


def box_value(draw: Draw, spelling: Spelling, box: tuple[int, int, int, int]) -> str:
    """One box in any of the forms that are understood."""
    numbers = [spelling.number(value) for value in box]
    form = draw(st.sampled_from(["list", "tuple", "strings", "string", "pairs", "named"]))
    if form == "named":
        return spelling.object(named_members(draw, spelling, box))
    if form == "pairs":
        return spelling.listed([spelling.listed(numbers[:2]), spelling.listed(numbers[2:])])
    if form == "strings":
        return spelling.listed([spelling.quoted(number) for number in numbers])
    if form == "string":
        return spelling.quoted(spelling.listed(numbers))
    return spelling.listed(numbers, "()" if form == "tuple" else "[]")


def point_value(draw: Draw, spelling: Spelling, point: tuple[int, int]) -> str:
    """One point in any of the forms that are understood."""
    x, y = (spelling.number(value) for value in point)
    form = draw(st.sampled_from(["list", "tuple", "string", "named", "named backwards"]))
    if form == "string":
        return spelling.quoted(spelling.mark(",").join([x, y]))
    if form.startswith("named"):
        members = [spelling.member("x", x), spelling.member("y", y)]
        return spelling.object(members if form == "named" else members[::-1])
    return spelling.listed([x, y], "()" if form == "tuple" else "[]")


# Names of x1, y1, x2, y2, center and size as a person would understand them; many are in no list.
SIDES: Final = {
    "low": "@1 @0 @min min_@ @_start start_@ @lo @_low @a @_from tl_@ top_left_@ @[0] p1.@ @",
    "high": "@2 @1 @max max_@ @_end end_@ @hi @_high @b @_to br_@ bottom_right_@ @[1] p2.@ @0",
    "center": "c@ @c center_@ @_center @_mid mid_@",
    "size": "size_@ d@ @_size @_length extent_@ width w_",
}


@st.composite
def named_somehow(draw: Draw) -> tuple[str, Meant]:
    """A box by any names, in any order; many such forms mean other boxes to another reader."""
    item, members = draw(meant(0, 0)), []
    for axis, low, high in (("x", item.box[0], item.box[2]), ("y", item.box[1], item.box[3])):
        values = {"low": low, "high": high, "center": (low + high) / 2, "size": high - low}
        for side in draw(st.sampled_from(["low high", "low size", "center size"])).split():
            name = draw(st.sampled_from(SIDES[side].split()))
            if axis == "y":
                name = name.replace("width", "height").replace("w_", "h_")
            name = name.replace("@", axis).strip("_")
            members.append(f'"{name}": {values[side]}')
    inside = "{" + ", ".join(draw(st.permutations(members))) + "}"
    return draw(st.sampled_from([inside, f'{{"bbox": {inside}}}', f'{{"box": [{inside}]}}'])), item


BOX_KEYS: Final = (
    "bbox", "bbox_2d", "box", "Bounding Box", "boundingBox", "BBOX", "bbox2d", "ｂｂｏｘ",
)  # fmt: skip


def members_of(draw: Draw, spelling: Spelling, item: Meant) -> list[str]:
    """The members of one object: its box, its points in their order, and what else is said."""
    flat = draw(st.integers(0, 4)) == 0
    if item.lone:
        members = []
    elif flat:
        members = named_members(draw, spelling, item.box)
    else:
        key = draw(st.sampled_from(BOX_KEYS))
        members = [spelling.member(key, box_value(draw, spelling, item.box))]
    values = [point_value(draw, spelling, point) for point in item.points]
    if len(values) == 1 and draw(st.booleans()):
        members.append(spelling.member("point_2d", values[0]))
    elif draw(st.booleans()):
        members.append(spelling.member("points", spelling.listed(values)))
    else:
        members += [
            spelling.member(f"points_{spelling.number(at)}", value)
            for at, value in enumerate(values, 1)
        ]
    for _ in range(draw(st.integers(0, 2))):
        members.insert(draw(st.integers(0, len(members))), extra(draw, spelling))
    return members


@st.composite
def answers(draw: Draw, lone_points: bool = False) -> tuple[str, list[Meant]]:
    """The text inside `<answer>`, and the objects that it means, in their order; with
    `lone_points`, some of them are points alone."""
    spelling, objects_meant = (
        draw(spellings),
        st.one_of(meant(), lone()) if lone_points else meant(),
    )
    container = draw(
        st.sampled_from(
            ["list", "list", "one", "one", "bare", "wrapped", "lines", "keys", "values"]
        )
    )
    if container in ("keys", "values"):
        items = draw(st.lists(meant(1, 1), min_size=2, max_size=3))
        inside = (several_keys if container == "keys" else several_values)(draw, spelling, items)
        inside = spelling.listed([inside]) if draw(st.booleans()) else inside
    elif container in ("one", "bare"):
        items = [draw(objects_meant)]
        members = members_of(draw, spelling, items[0])
        inside = (
            spelling.mark(",").join(members) if container == "bare" else spelling.object(members)
        )
    else:
        items = draw(st.lists(objects_meant, min_size=1, max_size=3))
        objects = [spelling.object(members_of(draw, spelling, item)) for item in items]
        inside = "\n".join(objects) if container == "lines" else spelling.listed(objects)
        if container == "wrapped":
            members = [extra(draw, spelling), spelling.member(draw(st.sampled_from(WRAPS)), inside)]
            inside = spelling.object(members)
    around = draw(st.sampled_from(AROUND if container != "bare" else AROUND[:4]))
    return around.replace("@", inside), items


WRAPS: Final = ("objects", "answer", "result", "目标")
AROUND: Final = (
    "@", "\n @\n", "```json\n@\n```", "```\n@\n```", "json\n@", "Here it is: @ That's all.",
    "The box you're looking for:\n@", "Answer: @.",
)  # fmt: skip


def several_keys(draw: Draw, spelling: Spelling, items: Sequence[Meant]) -> str:
    """One object with a box key and a point key for each item: repeated, or numbered."""
    numbered = draw(st.booleans())
    pairs = []
    for at, item in enumerate(items, 1):
        tail = f"_{spelling.number(at)}" if numbered else ""
        box = spelling.member(f"bbox{tail}", box_value(draw, spelling, item.box))
        point = spelling.member(f"point{tail}", point_value(draw, spelling, item.points[0]))
        pairs.append((box, point))
    if numbered and draw(st.booleans()):
        return spelling.object([box for box, _ in pairs] + [point for _, point in pairs])
    backwards = draw(st.booleans())
    return spelling.object([one for pair in pairs for one in (pair[::-1] if backwards else pair)])


def several_values(draw: Draw, spelling: Spelling, items: Sequence[Meant]) -> str:
    """One object with a list of boxes and a list of points."""

    def numbers(values: Sequence[int]) -> str:
        return spelling.listed([spelling.number(value) for value in values])

    boxes = spelling.listed([numbers(item.box) for item in items])
    points = spelling.listed([numbers(item.points[0]) for item in items])
    key = draw(st.sampled_from(["bbox_2d", "boxes", "bboxes"]))
    members = [spelling.member(key, boxes), spelling.member("points", points)]
    return spelling.object(members if draw(st.booleans()) else members[::-1])


@st.composite
def nothing(draw: Draw) -> str:
    """The text inside `<answer>` of a model that found no target."""
    spelling = draw(spellings)
    listed, member, zero = spelling.listed, spelling.member, spelling.number(0)
    empty = st.sampled_from(
        ["null", "None", listed([]), listed(["null"] * 4), listed([zero] * 4),
         listed([spelling.mark("-") + spelling.number(1)] * 4), listed([listed([])]),
         spelling.quoted("none"), spelling.quoted("")]
    )  # fmt: skip
    extras = [
        member("label", spelling.quoted(draw(texts))),
        member("count", zero),
        member("confidence", zero),
        member("box_id", spelling.number(7)),
    ]
    keys = [member("bbox", draw(empty)), member("points_1", draw(empty))]
    members = draw(
        st.sampled_from(
            [keys, keys[:1], [], [extras[0], *keys], [*keys, extras[2]], [extras[1], extras[0]],
             [extras[2]], [extras[0], extras[2]], [member("objects", listed([])), extras[1]],
             [*keys, *extras], [member("bbox", listed([])), extras[0], extras[3]]]
        )
    )  # fmt: skip
    one = spelling.object(members)
    wholes: list[str] = [one, listed([one]), listed([]), "null", listed([one, one])]
    whole = draw(st.sampled_from(wholes))
    around: str = draw(st.sampled_from(AROUND[:5]))
    return around.replace("@", whole)
