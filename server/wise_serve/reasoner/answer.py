"""From generated text to status, rationale, boxes and points, while the text is still coming.

The text is `<think>rationale</think><answer>objects</answer>`, then perhaps `<d_think>`. Its
parts:

    before    up to `<think>`
    thinking  inside `<think>`; without `</think>` it runs to `<answer>` or to the end
    between   from `</think>` to `<answer>`
    answer    inside `<answer>`; without `</answer>` it runs to `<d_think>` or to the end
    after     the rest, never read
"""

from dataclasses import dataclass
from typing import Literal

from wise_serve.contract.names import Status
from wise_serve.contract.prompts import Prompt
from wise_serve.reasoner import FinishReason
from wise_serve.reasoner.scanner import AnswerScanner, RawInstance
from wise_serve.reasoner.strategies import (
    ANSWER_CLOSE,
    ANSWER_OPEN,
    D_THINK_OPEN,
    THINK_CLOSE,
    THINK_OPEN,
    Strategy,
)

Part = Literal["before", "thinking", "between", "answer", "after"]

_NEXT: dict[Part, dict[str, Part]] = {
    "before": {THINK_OPEN: "thinking", THINK_CLOSE: "between", ANSWER_OPEN: "answer"},
    "thinking": {THINK_CLOSE: "between", ANSWER_OPEN: "answer"},
    "between": {ANSWER_OPEN: "answer"},
    "answer": {ANSWER_CLOSE: "after", D_THINK_OPEN: "after"},
    "after": {},
}


@dataclass(frozen=True, slots=True)
class Frame:
    """The original image's size and the reasoner's square, pixels."""

    width: int
    height: int
    square: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The whole text, read. `rationale` has no outer whitespace."""

    status: Status
    rationale: str
    instances: tuple[Prompt, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """What one piece of text added: to the rationale, and objects that were completed by it."""

    thinking: str
    instances: tuple[Prompt, ...]


class PartSplitter:
    """Cuts a growing text at its tags; a tag may arrive in pieces."""

    def __init__(self) -> None:
        self.part: Part = "before"
        self._held = ""  # the end of the text, while it may be the start of a tag

    def feed(self, text: str) -> list[tuple[Part, str]]:
        """The pieces that are certain now, in order."""
        text = self._held + text
        pieces: list[tuple[Part, str]] = []
        while True:
            hits = [(at, tag) for tag in _NEXT[self.part] if (at := text.find(tag)) >= 0]
            if not hits:
                break
            at, tag = min(hits)
            pieces.append((self.part, text[:at]))
            text = text[at + len(tag) :]
            self.part = _NEXT[self.part][tag]
        keep = self._possible_tag(text)
        self._held = text[len(text) - keep :]
        pieces.append((self.part, text[: len(text) - keep]))
        return pieces

    def close(self) -> tuple[Part, str]:
        """The text is over: what was held back was no tag."""
        held, self._held = self._held, ""
        return self.part, held

    def _possible_tag(self, text: str) -> int:
        """Length of the longest end of `text` that starts one of the tags awaited now."""
        tags = _NEXT[self.part]
        longest = max(map(len, tags), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(tag.startswith(text[-length:]) for tag in tags):
                return length
        return 0


class AnswerReader:
    """Fed with text deltas; yields each instance as soon as its object is complete.

    Never raises, whatever the text. `read_answer` is the same reader fed once.
    """

    def __init__(self, strategy: Strategy, frame: Frame) -> None:
        self._strategy = strategy
        self._frame = frame
        self._splitter = PartSplitter()
        self._scanner = AnswerScanner()
        self._text: list[str] = []
        self._parts: dict[Part, list[str]] = {part: [] for part in _NEXT}
        self._instances: list[Prompt] = []

    def feed(self, text: str) -> Progress:
        """Read on."""
        self._text.append(text)
        return self._take(self._splitter.feed(text))

    def finish(self, reason: FinishReason) -> tuple[Answer, Progress]:
        """The text is over; the answer, and what its end added.

        A text cut by the token limit is `truncated`, with the objects complete by then. A text
        that ended by itself is read to its end, the closing tag or not; without `<answer>`, the
        objects are looked for behind `</think>`, or else everywhere.
        """
        cut = reason == "length" and self._splitter.part != "after"
        progress = self._take([self._splitter.close()])
        found = list(progress.instances)
        if not cut:
            found += self._keep(self._close_scanner())
        status: Status
        if cut:
            status = "truncated"
        elif self._instances:
            status = "found"
        else:
            status = "no_target" if self._saw_answer and self._scanner.names_nothing else "unparsed"
        answer = Answer(status, self._rationale(), tuple(self._instances), "".join(self._text))
        return answer, Progress(progress.thinking, tuple(found))

    @property
    def _saw_answer(self) -> bool:
        return self._splitter.part in ("answer", "after")

    def _take(self, pieces: list[tuple[Part, str]]) -> Progress:
        found: list[Prompt] = []
        for part, text in pieces:
            self._parts[part].append(text)
            if part == "answer":
                found += self._keep(self._scanner.feed(text))
        thinking = "".join(text for part, text in pieces if part == "thinking")
        return Progress(thinking, tuple(found))

    def _close_scanner(self) -> list[RawInstance]:
        if self._saw_answer:
            return self._scanner.close()
        behind = "".join(self._parts["between"])
        found = self._scanner.feed(behind or "".join(self._text))
        return found + self._scanner.close()

    def _keep(self, raw: list[RawInstance]) -> list[Prompt]:
        placed = [place(item, self._strategy, self._frame) for item in raw]
        kept = [item for item in placed if item is not None]
        self._instances += kept
        return kept

    def _rationale(self) -> str:
        opened = bool(self._parts["thinking"])
        if not opened and self._parts["between"]:
            return "".join(self._parts["before"]).strip()  # the opening tag is missing
        return "".join(self._parts["thinking"]).strip()


def read_answer(text: str, reason: FinishReason, strategy: Strategy, frame: Frame) -> Answer:
    """Read a whole generated text."""
    reader = AnswerReader(strategy, frame)
    reader.feed(text)
    return reader.finish(reason)[0]


def place(raw: RawInstance, strategy: Strategy, frame: Frame) -> Prompt | None:
    """Scale to whole pixels of the original image, put corners in order, clip to the image; None if
    the box is empty then. Points are clipped to 0 <= x < width, 0 <= y < height."""
    x_factor, y_factor = frame.width / frame.square, frame.height / frame.square

    def pixel(value: float, factor: float, limit: int) -> int:
        scaled = min(max(value * factor, -1.0), limit + 1.0)  # keeps int() small; clipped below
        return min(max(strategy.round(scaled), 0), limit)

    xs = sorted(pixel(value, x_factor, frame.width) for value in raw.box[0::2])
    ys = sorted(pixel(value, y_factor, frame.height) for value in raw.box[1::2])
    if xs[0] == xs[1] or ys[0] == ys[1]:
        return None
    points = tuple(
        (pixel(x, x_factor, frame.width - 1), pixel(y, y_factor, frame.height - 1))
        for x, y in raw.points[: strategy.max_points]
    )
    return Prompt((xs[0], ys[0], xs[1], ys[1]), points)
