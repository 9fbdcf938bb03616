"""The parts of an answer, typed: instances, usage, timing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from wise_client import masks
from wise_client.masks import BoolMask
from wise_client.polygons import Polygon, polygons

T = TypeVar("T")
Box = tuple[float, float, float, float]
Point = tuple[float, float]


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer. `thinking_tokens` is what the paper counts: the text in `<think>`."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    thinking_tokens: int = 0
    answer_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class Timing:
    """Milliseconds per stage; reasoning and encoding run in parallel."""

    decode_ms: float = 0.0
    reason_ms: float = 0.0
    encode_ms: float = 0.0
    segment_ms: float = 0.0
    total_ms: float = 0.0


@dataclass(frozen=True)
class Models:
    """Names of what answered."""

    reasoner: str = ""
    segmenter: str = ""
    strategy: str = ""


@dataclass(frozen=True)
class Frame:
    """From the image as sent to the original. Sizes are (width, height) in pixels."""

    sent_size: tuple[int, int]
    size: tuple[int, int]

    @property
    def same(self) -> bool:
        """Whether the image was sent at its own size."""
        return self.sent_size == self.size

    def coordinates(self, values: list[float]) -> tuple[float, ...]:
        """x, y, x, y... as sent -> original; x and y are scaled apart, as each was rounded."""
        if self.same:
            return tuple(values)
        ratio = (self.size[0] / self.sent_size[0], self.size[1] / self.sent_size[1])
        return tuple(value * ratio[i % 2] for i, value in enumerate(values))

    def sent(self, values: Sequence[float]) -> list[float]:
        """x, y, x, y... of the original -> as sent."""
        ratio = (self.sent_size[0] / self.size[0], self.sent_size[1] / self.size[1])
        return [float(value) * ratio[i % 2] for i, value in enumerate(values)]

    def mask(self, payload: object) -> BoolMask:
        """A mask of the answer, in any format -> bool [height, width] of the original image.

        Raises UnexpectedAnswerError when it is no mask of the image that was sent.
        """
        return masks.resize(masks.decode(payload, self.sent_size), self.size)


@dataclass(frozen=True, repr=False, eq=False)
class Instance:
    """One object. `box` is (x1, y1, x2, y2), `points` are (x, y); `score` is the predicted IoU.

    For an object that was given by points alone, `box` is the mask's own.
    `labels`: for each point, whether it is on the object (1) or off it (0).
    """

    box: Box
    points: tuple[Point, ...]
    score: float
    frame: Frame
    payload: Mapping[str, Any]
    labels: tuple[int, ...] = ()

    @cached_property
    def alternatives(self) -> "tuple[Instance, ...]":
        """With `multimask=True`: the other masks for the same prompt, by descending score."""
        others = self.payload.get("alternatives") or ()
        place = {"labels": self.labels, **{name: self.payload[name] for name in ("box", "points")}}
        return tuple(instance({**place, **other}, self.frame) for other in others)

    @cached_property
    def mask(self) -> BoolMask:
        """bool [height, width] of the original image; decoded at the first use, then kept.

        Raises UnexpectedAnswerError when the answer's mask cannot be decoded.
        """
        return self.frame.mask(self.payload["mask"])

    @cached_property
    def area(self) -> int:
        """The mask's pixels."""
        return int(self.payload["area"] if self.frame.same else np.count_nonzero(self.mask))

    def to_polygons(self) -> list[Polygon]:
        """The mask's parts, largest first, as rings of pixel corners that enclose it exactly."""
        return polygons(self.mask)

    def to_dict(self) -> dict[str, Any]:
        """As in the contract, in the original image's pixels."""
        if self.frame.same:
            return dict(self.payload)
        mapped: dict[str, Any] = {
            "box": list(self.box),
            "points": [list(point) for point in self.points],
            **self._measured(),
        }
        if others := self.payload.get("alternatives"):
            pairs = zip(others, self.alternatives, strict=True)
            mapped["alternatives"] = [{**given, **one._measured()} for given, one in pairs]
        return {**self.payload, **mapped}

    def _measured(self) -> dict[str, Any]:
        return {"area": self.area, "mask": masks.encode(self.mask)}

    def __repr__(self) -> str:
        box = ", ".join(f"{value:.0f}" for value in self.box)
        return f"Instance(box=({box}), score={self.score:.2f})"


def instance(payload: Mapping[str, Any], frame: Frame) -> Instance:
    """Read one of `instances`; raises KeyError, TypeError or ValueError when it is not one."""
    x1, y1, x2, y2 = frame.coordinates([float(value) for value in payload["box"]])
    points = [frame.coordinates([float(x), float(y)]) for x, y in payload["points"]]
    pairs = tuple((x, y) for x, y in points)
    _ = payload["mask"], payload["area"]  # a missing one raises now, not at its first use
    labels = tuple(int(label) for label in payload.get("labels") or [1] * len(pairs))
    if len(labels) != len(pairs):
        raise ValueError(f"{len(pairs)} points have {len(labels)} labels")
    return Instance((x1, y1, x2, y2), pairs, float(payload["score"]), frame, payload, labels)


def filled(kind: type[T], values: Mapping[str, Any] | None, suffix: str = "") -> T:
    """A dataclass from the contract's fields, `suffix` less; what is missing keeps its default."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    given = values or {}
    keys = {name: name.removesuffix(suffix) for name in names}
    return kind(**{name: given[key] for name, key in keys.items() if key in given})
