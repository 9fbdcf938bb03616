"""What the miniature reasoner is taught to write: `<think>` -> `<answer>` -> `<d_think>`.

The lengths matter, as in WISE (arXiv 2604.02040, section 3): `wise-s` has a few words, `wise` a
short sentence, `seg-zero` at least 40 tokens; after the answer comes a detailed explanation, which
serving never reaches. A rationale names the object and its rough region, in a relation after the
other object. So the model has already said where to look when it writes the box. The long ones
name it twice: at once, where the question is as near as in a short rationale, so that a long one is
not a handicap, and again right before the answer.
"""

import json
import re
from dataclasses import dataclass

import numpy as np

from miniature.queries import Query, described_shape
from miniature.scenes import Scene, Shape

REGIONS = (
    ("upper left", "upper middle", "upper right"),
    ("middle left", "center", "middle right"),
    ("lower left", "lower middle", "lower right"),
)
HOW = {
    "attribute": "by what it looks like, so i compare the colour and the form of every shape",
    "extremum": (
        "by how it ranks among the others, so i compare the size and the place of every shape"
    ),
    "relation": "by its place beside another one, so i look for that one first and then around it",
    "likeness": "by what it is like, so i ask of every shape which colour and form that would be",
    "absent": "by what it looks like, so i compare the colour and the form of every shape",
    "plural": "by what they have in common, so i compare the colour and the form of every shape",
}


def region(shape: Shape, scene: Scene) -> str:
    """The ninth of the image that contains the shape's centre, in words."""
    column = min(2, int(shape.centre[0] / scene.image.width * 3))
    row = min(2, int(shape.centre[1] / scene.image.height * 3))
    return REGIONS[row][column]


@dataclass(frozen=True)
class Response:
    """The assistant's turn. `mentions`: which part of it (start, end) is about which shape (index).
    `complete`: the turn ends here; otherwise `<d_think>` would follow, which serving never reaches.
    """

    text: str
    mentions: tuple[tuple[int, int, int], ...]
    complete: bool = True


def response(
    strategy: str, scene: Scene, query: Query, image_size: int, *, detailed: bool = False
) -> Response:
    """The text to write. Coordinates are in the reasoner's square, `image_size` pixels a side."""
    text = f"<think>{_think(strategy, scene, query)}</think>"
    text += f"<answer>{answer(strategy, scene, query, image_size)}</answer>"
    explains = strategy in ("wise", "wise-s")
    if detailed and explains:
        text += f"<d_think>{_long(scene, query)}</d_think>"
    return find_mentions(text, complete=detailed or not explains)


_OPEN, _CLOSE = 0xE000, chr(0xF8FF)  # private use: mark a mention while the text is put together


def _mention(index: int, text: str) -> str:
    return f"{chr(_OPEN + index)}{text}{_CLOSE}"


def find_mentions(marked: str, *, complete: bool) -> Response:
    """Remove the marks that `place` and `answer` put around the parts about a shape."""
    letters: list[str] = []
    mentions: list[tuple[int, int, int]] = []
    start, index = 0, 0
    for letter in marked:
        if letter == _CLOSE:
            mentions.append((start, len(letters), index))
        elif ord(letter) >= _OPEN:
            start, index = len(letters), ord(letter) - _OPEN
        else:
            letters.append(letter)
    return Response("".join(letters), tuple(mentions), complete)


def place(scene: Scene, index: int) -> str:
    """A shape in words, with the region of the image where it is."""
    shape = scene.shapes[index]
    return _mention(index, f"{described_shape(shape)} {region(shape, scene)}")


def _think(strategy: str, scene: Scene, query: Query) -> str:
    found = " and ".join(place(scene, i) for i in query.targets)
    first = f"{place(scene, query.anchor)}, " if query.anchor is not None else ""
    if strategy == "wise-s":
        return first + found if found else "none"
    if strategy == "wise":
        if not found:
            return "i see none of that in the picture, nothing matches"
        by = f"i go by the {first}and see that " if first else "i see that "
        return f"{by}the {found} is what matches best"
    if strategy == "vision-reasoner":
        if not found:
            return "none of them fits. i look at the colour and the form of every shape again"
        again = f": {found}" if len(query.targets) == 1 else ""  # several would be very long
        return f"{_fits(scene, query)}. i look at the colour and the form of every shape{again}"
    return _long(scene, query)


def _long(scene: Scene, query: Query) -> str:
    how = HOW[query.form or query.family]
    why = f"the question names the thing that it asks for {how}, one after the other. "
    if not query.targets:
        return (
            f"nothing here fits. {why}i look at the whole picture again, from the left to the "
            "right, and there is none which fits, so the answer names nothing"
        )
    found = place(scene, query.targets[0])
    return (
        f"{_fits(scene, query)}. {why}of all that i can see in the picture the others fit less "
        f"well, so the answer is the {found}"
    )


def _fits(scene: Scene, query: Query) -> str:
    """How both long rationales begin: what the question goes by, and what it means."""
    by = f"to go by is the {place(scene, query.anchor)}, " if query.anchor is not None else ""
    found = " and the ".join(place(scene, i) for i in query.targets)
    return f"{by}{'the one which' if len(query.targets) == 1 else 'what'} fits is the {found}"


def extents(shape: Shape, scene: Scene, image_size: int) -> tuple[list[int], list[list[int]]]:
    """Box [x1, y1, x2, y2] and two points well inside, in the reasoner's space, whole pixels."""
    fx, fy = image_size / scene.image.width, image_size / scene.image.height
    x1, y1, x2, y2 = shape.box
    box = [round(x1 * fx), round(y1 * fy), round(x2 * fx), round(y2 * fy)]
    x, y = shape.centre
    lower = y + 0.13 * (y2 - y1)
    points = [[round(x * fx), round(y * fy)], [round(x * fx), round(lower * fy)]]
    return np.clip(box, 0, image_size).tolist(), np.clip(points, 0, image_size).tolist()


def answer(strategy: str, scene: Scene, query: Query, image_size: int) -> str:
    """The text inside `<answer>`; coordinates in the square of `image_size` pixels."""
    objects = [(i, *extents(scene.shapes[i], scene, image_size)) for i in query.targets]
    if strategy == "vision-reasoner":
        listed = [_mention(i, _dump({"bbox_2d": b, "point_2d": p[0]})) for i, b, p in objects]
        return f"[{', '.join(listed)}]"
    if not objects:
        return "{}"
    index, box, (one, two) = objects[0]
    text = _dump({"bbox": box, "points_1": one, "points_2": two})
    # Each checkpoint writes its prompt's own example format; Seg-Zero's has single quotes.
    return _mention(index, text.replace('"', "'") if strategy == "seg-zero" else text)


def _dump(value: object) -> str:
    """JSON as the prompts' examples write it: ", " between members, "," between numbers."""
    return re.sub(r"(?<=\d), (?=\d)", ",", json.dumps(value))
