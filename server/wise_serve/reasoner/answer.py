"""Turns generated text into status, rationale, boxes and points while it is still being generated.

Which part of the text is the answer: `parts.py`. How the answer is read: `scanner.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wise_serve.contract.names import Status
from wise_serve.contract.prompts import FOREGROUND, Prompt
from wise_serve.reasoner import FinishReason
from wise_serve.reasoner.parts import PartReader, Step
from wise_serve.reasoner.scanner import RawInstance
from wise_serve.reasoner.strategies import Strategy

_FRACTIONS_UP_TO: Final = 2


@dataclass(frozen=True, slots=True)
class Frame:
    """The original image, and the frame that the answer's coordinates are in.

    width, height: of the original image, pixels.
    x_range: the largest x that an answer may have; such as the side of the reasoner's square.
    y_range: the largest y; None: the same as x_range.
    """

    width: int
    height: int
    x_range: float
    y_range: float | None = None

    @property
    def factors(self) -> tuple[float, float]:
        """The factors from the answer's x and y to pixels of the original image."""
        return self.width / self.x_range, self.height / (self.y_range or self.x_range)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a whole text. `rationale` has no outer whitespace."""

    status: Status
    rationale: str
    instances: tuple[Prompt, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """What one piece of text added to the rationale, and the objects that it completed."""

    thinking: str
    instances: tuple[Prompt, ...]


class AnswerReader:
    """Reads text deltas and yields each instance as soon as its object is complete.

    Never raises, whatever the text is. `read_answer` reads a whole text with it. The instances
    that it yields are those of the final answer, unless the text answers again after `</answer>`:
    then the last answer counts. Generation stops at `</answer>`, so that this does not happen.
    """

    def __init__(self, strategy: Strategy, frame: Frame) -> None:
        self._strategy = strategy
        self._frame = frame
        self._parts = PartReader(strategy.keys, strategy.tagged)
        self._text: list[str] = []
        self._instances: dict[Prompt, None] = {}  # in their order, each once
        self._refused = False

    def feed(self, text: str) -> Progress:
        """Read on."""
        self._text.append(text)
        return self._keep(self._parts.feed(text))

    def finish(self, reason: FinishReason) -> tuple[Answer, Progress]:
        """End the text. Returns the answer, and what the end of the text added.

        A text that the token limit ended is `truncated`, with the objects that are complete. A text
        that ended by itself is read to its end, even without a closing tag. If a part of the answer
        was not understood, the status is `unparsed`, with the objects that were understood.
        """
        parts = self._parts
        progress = self._keep(parts.finish(reason == "length"))
        text = "".join(self._text)
        status: Status
        if reason == "length" and not parts.closed:
            status = "truncated"
        elif self._refused or parts.scanner.refused:
            status = "unparsed"
        elif self._instances:
            status = "found"
        else:
            status = "no_target" if parts.answered and parts.scanner.names_nothing else "unparsed"
        rationale = text[slice(*parts.thinking)].strip()
        return Answer(status, rationale, tuple(self._instances), text), progress

    def _keep(self, step: Step) -> Progress:
        """Scale the objects that are new. An object that is written again is not counted again."""
        if step.replaces:
            self._instances, self._refused = {}, False
        new: dict[Prompt, None] = {}
        for raw in step.found:
            if self._frame.x_range > _FRACTIONS_UP_TO and looks_normalized(raw):
                self._refused = True
            elif (placed := place(raw, self._strategy, self._frame)) is not None:
                new[placed] = None
        found = tuple(one for one in new if one not in self._instances)
        self._instances.update(dict.fromkeys(found))
        return Progress("".join(step.thinking), found)


def read_answer(text: str, reason: FinishReason, strategy: Strategy, frame: Frame) -> Answer:
    """Read a whole generated text."""
    reader = AnswerReader(strategy, frame)
    reader.feed(text)
    return reader.finish(reason)[0]


def looks_normalized(raw: RawInstance) -> bool:
    """Whether the box or one of its points is in fractions of the image's sides, not in pixels.

    That is so if not all numbers are integers and all lie between about 0 and 1. A model may be
    inexact, and the sum of a corner and a size may reach 2. No box in pixels is that small.
    """

    def fractions(numbers: Sequence[float], most: float) -> bool:
        near = all(-1 < number <= most for number in numbers)
        return near and not all(isinstance(number, int) for number in numbers)

    boxes = [raw.box] if raw.box else []
    return any(fractions(box, _FRACTIONS_UP_TO) for box in boxes) or any(
        fractions(one, 1) for one in raw.points
    )


def place(raw: RawInstance, strategy: Strategy, frame: Frame) -> Prompt | None:
    """Scale to whole pixels of the original image, order the corners, and clip to the image.

    None if the box is then empty. Points are clipped to 0 <= x < width, 0 <= y < height. Without a
    box, points outside of the image are dropped instead: its edge is not part of the object."""
    x_factor, y_factor = frame.factors
    width, height = frame.width, frame.height

    def pixel(value: float, factor: float, limit: int) -> int:
        scaled = min(max(value * factor, -1.0), limit + 1.0)  # keeps int() small; clipped below
        return strategy.round(scaled)

    placed = [(pixel(x, x_factor, width), pixel(y, y_factor, height)) for x, y in raw.points]
    kept = [
        at for at, (x, y) in enumerate(placed) if raw.box or (0 <= x <= width and 0 <= y <= height)
    ][: strategy.max_points]
    points = tuple(
        (_within(placed[at][0], width - 1), _within(placed[at][1], height - 1)) for at in kept
    )
    labels = tuple(raw.labels[at] for at in kept) if raw.labels else ()
    choice = strategy.mask_choice
    if raw.box is None:
        foreground = FOREGROUND in labels if raw.labels else bool(points)
        return Prompt(points=points, labels=labels, choice=choice) if foreground else None
    xs = sorted(_within(pixel(value, x_factor, width), width) for value in raw.box[0::2])
    ys = sorted(_within(pixel(value, y_factor, height), height) for value in raw.box[1::2])
    if xs[0] == xs[1] or ys[0] == ys[1]:
        return None
    return Prompt((xs[0], ys[0], xs[1], ys[1]), points, labels, choice=choice)


def _within(value: int, most: int) -> int:
    return min(max(value, 0), most)
