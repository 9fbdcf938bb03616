"""bool masks -> polygons along the pixels' borders, so that they enclose exactly those pixels.

They are valid by OGC Simple Features, as shapely and the tools behind it ask: no ring visits a
corner twice, rings touch each other at single corners only.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wise_client.masks import BoolMask

Ring = npt.NDArray[np.int64]  # [n, 2] corners (x, y), not closed: the last is not the first again

_RIGHT, _DOWN, _LEFT, _UP = range(4)
_STEP = {_RIGHT: (1, 0), _DOWN: (0, 1), _LEFT: (-1, 0), _UP: (0, -1)}


@dataclass(frozen=True)
class Polygon:
    """One connected part of a mask. Rings in pixels, of pixel corners: (0, 0) is the image's."""

    exterior: Ring
    holes: tuple[Ring, ...] = ()


def polygons(mask: BoolMask) -> list[Polygon]:
    """The parts of a bool [height, width] mask (4-connected), each with its holes."""
    rings = _rings(mask)
    areas = [_signed_area(ring) for ring in rings]
    exteriors = [(ring, area) for ring, area in zip(rings, areas, strict=True) if area > 0]
    exteriors.sort(key=lambda pair: pair[1])  # the smallest that holds a hole is its owner
    holes: list[list[Ring]] = [[] for _ in exteriors]
    for ring, area in zip(rings, areas, strict=True):
        if area < 0:
            point = _pixel_beside(ring)
            owner = next(i for i, (outer, _) in enumerate(exteriors) if _holds(outer, point))
            holes[owner].append(ring)
    parts = [Polygon(ring, tuple(holes[i])) for i, (ring, _) in enumerate(exteriors)]
    return parts[::-1]  # largest first


def without_holes(mask: BoolMask) -> list[Ring]:
    """Rings that together enclose exactly the mask, for formats that know no holes.

    A part with holes is cut in two along the edge of a column, until no piece has one.
    """
    rings: list[Ring] = []
    for part in polygons(mask):
        if not part.holes:
            rings.append(part.exterior)
            continue
        origin, end = part.exterior.min(axis=0), part.exterior.max(axis=0)
        moved = Polygon(part.exterior - origin, tuple(hole - origin for hole in part.holes))
        whole = _filled(moved, *(end - origin).tolist())
        places = sorted(int(hole[:, 0].min()) for hole in moved.holes)
        cut = places[len(places) // 2]
        left, right = whole.copy(), whole
        left[:, cut:] = right[:, :cut] = False
        rings += [ring + origin for half in (left, right) for ring in without_holes(half)]
    return rings


def simplified(ring: Ring, tolerance_pixels: float) -> Ring:
    """The ring with fewer corners; none of those left out is farther than that from the border.

    Ramer's and Douglas and Peucker's way. A ring that would enclose nothing is kept as it is.
    """
    if tolerance_pixels <= 0 or len(ring) < 4:
        return ring
    far = int(np.argmax(np.abs(ring - ring[0]).sum(axis=1)))
    closed = np.concatenate([ring, ring[:1]])
    kept = np.zeros(len(closed), dtype=bool)
    kept[[0, far, -1]] = True
    spans = [(0, far), (far, len(ring))]
    while spans:
        start, end = spans.pop()
        away = _distances(closed[start + 1 : end], closed[start], closed[end])
        if away.size and away.max() > tolerance_pixels:
            middle = start + 1 + int(np.argmax(away))
            kept[middle] = True
            spans += [(start, middle), (middle, end)]
    fewer = closed[:-1][kept[:-1]]
    return fewer if len(fewer) > 2 and _signed_area(fewer) else ring


def _distances(corners: Ring, start: Ring, end: Ring) -> npt.NDArray[np.float64]:
    """Of each corner from the straight line between start and end, in pixels."""
    along, off = (end - start).astype(np.float64), (corners - start).astype(np.float64)
    return np.asarray(np.abs(along[0] * off[:, 1] - along[1] * off[:, 0]) / np.hypot(*along))


def _filled(part: Polygon, width: int, height: int) -> BoolMask:
    """bool [height, width] of one part: each vertical border flips what is to its right."""
    flips = np.zeros((height, width + 1), dtype=bool)
    for ring in (part.exterior, *part.holes):
        for (x, y), (next_x, next_y) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if x == next_x:
                flips[min(y, next_y) : max(y, next_y), x] ^= True
    return np.asarray(np.logical_xor.accumulate(flips, axis=1)[:, :-1], dtype=bool)


def _rings(mask: BoolMask) -> list[Ring]:
    """All closed borders, walked with the mask on the right: outer ones clockwise on screen."""
    leaving = _borders(mask)
    rings: list[Ring] = []
    while leaving:
        start = next(iter(leaving))
        point, direction = start, next(iter(leaving[start]))
        corners: list[tuple[int, int]] = []
        previous = -1
        while point in leaving and direction in leaving[point]:
            leaving[point].remove(direction)
            if not leaving[point]:
                del leaving[point]
            if direction != previous:
                corners.append(point)
            previous = direction
            point = (point[0] + _STEP[direction][0], point[1] + _STEP[direction][1])
            onward = leaving.get(point, ())
            # Where two parts touch at a corner, turning right stays on this part.
            turns = ((direction + 1) % 4, direction, (direction + 3) % 4)
            direction = next((turn for turn in turns if turn in onward), direction)
        rings += [_without_straight_start(loop) for loop in _loops(corners)]
    return rings


def _loops(corners: list[tuple[int, int]]) -> list[Ring]:
    """A closed walk cut where it comes to a corner for the second time.

    Where a part touches itself at a corner, what it surrounds there becomes a hole of its own.
    """
    loops: list[Ring] = []
    path: list[tuple[int, int]] = []
    places: dict[tuple[int, int], int] = {}
    for corner in corners:
        if corner in places:
            start = places[corner]
            loops.append(np.array(path[start:], dtype=np.int64))
            for passed in path[start:]:
                del places[passed]
            del path[start:]
        places[corner] = len(path)
        path.append(corner)
    return [*loops, np.array(path, dtype=np.int64)]


def _borders(mask: BoolMask) -> dict[tuple[int, int], set[int]]:
    """Corner -> directions of the unit borders that leave it, mask on the right hand."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    # Per direction: which neighbour must be empty, and the corner of the pixel where it starts.
    sides = {
        _RIGHT: (padded[:-2, 1:-1], (0, 0)),
        _DOWN: (padded[1:-1, 2:], (1, 0)),
        _LEFT: (padded[2:, 1:-1], (1, 1)),
        _UP: (padded[1:-1, :-2], (0, 1)),
    }
    leaving: dict[tuple[int, int], set[int]] = {}
    for direction, (neighbour, (dx, dy)) in sides.items():
        rows, columns = np.nonzero(inside & ~neighbour)
        for corner in zip((columns + dx).tolist(), (rows + dy).tolist(), strict=True):
            leaving.setdefault(corner, set()).add(direction)
    return leaving


def _without_straight_start(ring: Ring) -> Ring:
    """Drop the first corner if the walk began in the middle of a straight border."""
    before, first, after = ring[-1], ring[0], ring[1]
    straight = (before[0] == first[0] == after[0]) or (before[1] == first[1] == after[1])
    return ring[1:] if straight else ring


def _signed_area(ring: Ring) -> float:
    x, y = ring[:, 0], ring[:, 1]
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2


def _pixel_beside(ring: Ring) -> tuple[float, float]:
    """The centre of a mask pixel on the right hand of the ring's first border."""
    (x0, y0), (x1, y1) = ring[0], ring[1]
    dx, dy = np.sign(x1 - x0), np.sign(y1 - y0)
    return float(x0 + dx / 2 - dy / 2), float(y0 + dy / 2 + dx / 2)


def _holds(ring: Ring, point: tuple[float, float]) -> bool:
    """Even-odd rule; `point` is never on the ring, being a pixel's centre."""
    x, y = ring[:, 0], ring[:, 1]
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    vertical = (x == next_x) & (x > point[0])
    crosses = (np.minimum(y, next_y) < point[1]) & (point[1] < np.maximum(y, next_y))
    return bool(np.count_nonzero(vertical & crosses) % 2)
