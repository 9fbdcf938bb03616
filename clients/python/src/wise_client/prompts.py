"""Prompts of `refine`: what an annotator draws -> the contract's form."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from wise_client import masks
from wise_client.errors import InputError
from wise_client.masks import BoolMask
from wise_client.parts import Box, Frame, Instance

Click: TypeAlias = tuple[float, float] | tuple[float, float, int] | Sequence[float]


@dataclass(frozen=True, eq=False)
class Prompt:
    """One object, in pixels of the original image as displayed; at least one of the three.

    box: x1, y1, x2, y2. points: (x, y) on the object, or (x, y, label) with SAM 2's labels: 1 on
    the object, 0 beside it. mask: an earlier mask, bool [height, width], or COCO's RLE.
    """

    box: Sequence[float] | None = None
    points: Sequence[Click] = ()
    mask: BoolMask | Mapping[str, Any] | None = None

    def document(self, frame: Frame) -> dict[str, Any]:
        """The prompt as JSON. Raises InputError if it is not valid."""
        if self.box is None and not len(self.points) and self.mask is None:
            raise InputError("A prompt needs a box, points or a mask")
        sent: dict[str, Any] = {}
        if self.box is not None:
            sent["box"] = frame.sent(_numbers(self.box, (4,), "A box is x1, y1, x2, y2"))
        if len(self.points):
            sent["points"] = [_point(point, frame) for point in self.points]
        if self.mask is not None:
            sent["mask"] = _mask(self.mask, frame)
        return sent


def the_prompts(
    box: Sequence[float] | None,
    points: Sequence[Click],
    mask: BoolMask | Mapping[str, Any] | None,
    prompts: Sequence[Prompt] | None,
) -> Sequence[Prompt]:
    """One prompt by its parts, or several; raises InputError for both or none."""
    if prompts is None:
        return [Prompt(box, points, mask)]
    if box is not None or len(points) or mask is not None:
        raise InputError("Give either box, points and mask, or prompts")
    return prompts


@dataclass(frozen=True)
class Change:
    """A person's change of an instance: points on the object, points off it, another box."""

    add: Sequence[Click] = ()
    remove: Sequence[Click] = ()
    box: Sequence[float] | None = None

    def prompt(self, instance: Instance) -> Prompt:
        """The instance's own box, points and mask with the change. The box grows to hold the points
        that are added. Raises InputError where nothing changes."""
        clicks = [(x, y, 1) for x, y in map(_pair, self.add)]
        clicks += [(x, y, 0) for x, y in map(_pair, self.remove)]
        if not clicks and self.box is None:
            raise InputError(
                "Say what to change: add=[(x, y)], remove=[(x, y)] or box=(x1, y1, x2, y2)"
            )
        before = zip(instance.points, instance.labels, strict=True)
        points = [*((x, y, label) for (x, y), label in before), *clicks]
        own = instance.box if instance.box[0] < instance.box[2] else None  # none of an empty mask
        box = self.box if self.box is not None else own and _grown(own, clicks)
        return Prompt(box, points, instance.mask if instance.area else None)


def _grown(box: Box, clicks: Sequence[tuple[float, float, int]]) -> Box:
    x1, y1, x2, y2 = box
    for x, y, label in clicks:
        if label:
            x1, y1, x2, y2 = min(x1, x), min(y1, y), max(x2, x), max(y2, y)
    return x1, y1, x2, y2


def _pair(point: Click) -> tuple[float, float]:
    x, y = _numbers(point, (2,), "A point is x, y")
    return x, y


def _point(point: Click, frame: Frame) -> dict[str, Any]:
    x, y, *label = _numbers(point, (2, 3), "A point is x, y or x, y, label")
    if label and label[0] not in (0, 1):
        raise InputError(f"A point's label is 1 (on the object) or 0 (beside it), not {label[0]}")
    sent_x, sent_y = frame.sent([x, y])
    return {"x": sent_x, "y": sent_y, "label": int(label[0]) if label else 1}


def _numbers(values: Sequence[float], lengths: tuple[int, ...], what: str) -> list[float]:
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        raise InputError(f"{what}, not {values!r}") from None
    if len(numbers) not in lengths or not all(map(math.isfinite, numbers)):
        raise InputError(f"{what}, not {values!r}")
    return numbers


def _mask(mask: BoolMask | Mapping[str, Any], frame: Frame) -> dict[str, Any]:
    width, height = frame.size
    if isinstance(mask, Mapping):
        try:
            mask = masks.from_rle(mask, frame.size)
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"The mask is not COCO's RLE of this image: {error}") from error
    pixels = np.asarray(mask, bool)
    if pixels.shape != (height, width):
        raise InputError(
            f"A mask is bool [height, width] of its image, ({height}, {width}), not {pixels.shape}"
        )
    return dict(masks.encode(masks.resize(pixels, frame.sent_size)))
