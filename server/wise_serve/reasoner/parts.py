"""Splits a generated text into its thinking and its answer while it is generated.

The text should be `<think>rationale</think><answer>objects</answer>`, then perhaps `<d_think>`. But
models omit tags, and write about the tags in their rationale. The rules:

- The thinking ends at the first `</think>`. Everything before it is thinking: also an `<answer>` or
  a box, and even if `<think>` is missing.
- After it, the last `<answer>` counts whose content is an answer, that is, it has an object or says
  that there is none. It ends at `</answer>`, at `<d_think>` or with the text; nothing after
  `<d_think>` is read. Generation stops at the first `</answer>` after the thinking, so that the
  first `<answer>` is normally the last one. Its objects are therefore returned as soon as each
  is complete; a later `<answer>` replaces them when it has ended.
- Without `</think>`, nothing is certain before the text ends. Then the last `<answer>` that
  contains an answer counts, and the thinking ends where it starts. If the token limit ended the
  text before `</answer>` and `<think>` is there, all of it is thinking.
- Where keys are tags (`reading/tags.py`), there is no `<answer>`: the answer begins after
`</think>`.
- Without `<answer>`, the text after `</think>` is the answer; without any tag, the whole text.
"""

import re
from dataclasses import dataclass, field
from typing import Final, Literal

from wise_serve.reasoner.reading.keys import USUAL_KEYS, Keys
from wise_serve.reasoner.scanner import AnswerScanner, RawInstance

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"
D_THINK_OPEN = "<d_think>"  # the detailed explanation after the answer, which serving never needs

Span = tuple[int, int]
_TAGS: Final = (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE, D_THINK_OPEN)
_TAG: Final = re.compile("|".join(_TAGS))
_LONGEST_TAG: Final = max(map(len, _TAGS))


class TagSplitter:
    """Cuts a growing text at its tags. A tag may arrive in pieces."""

    def __init__(self) -> None:
        self._held = ""  # the end of the text, as long as it may be the start of a tag

    def feed(self, text: str) -> list[str]:
        """Add text. Returns the pieces that are certain now, in order: tags, and other text."""
        text = self._held + text
        pieces, at = [], 0
        for tag in _TAG.finditer(text):
            pieces += [text[at : tag.start()], tag.group()]
            at = tag.end()
        begins = text.rfind("<", max(at, len(text) - _LONGEST_TAG + 1))
        if begins < 0 or not any(tag.startswith(text[begins:]) for tag in _TAGS):
            begins = len(text)
        self._held = text[begins:]
        return [piece for piece in (*pieces, text[at:begins]) if piece]

    def close(self) -> str:
        """End the text. Returns the rest, which was held back because it looked like a tag."""
        held, self._held = self._held, ""
        return held


@dataclass(slots=True)
class Step:
    """What a piece of text added.

    thinking: pieces of the rationale. found: objects that are complete. replaces: all objects
    found in earlier steps are void.
    """

    thinking: list[str] = field(default_factory=list)
    found: list[RawInstance] = field(default_factory=list)
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class _Block:
    """An `<answer>` inside the thinking: positions of its tag and its content, in characters."""

    tag_at: int
    start: int
    end: int
    content: str
    closed: bool


class PartReader:
    """Reads a generated text in pieces of any size.

    keys: the strategy's names of boxes and points. tagged: false if the whole text is the answer.
    thinking, answer: their start and end in the text, in characters, without tags; final after
    `finish`. answered: there is an `<answer>`. closed: it has an end. scanner: the scanner that
    read it.
    """

    def __init__(self, keys: Keys = USUAL_KEYS, tagged: bool = True) -> None:
        self.thinking: Span = (0, 0)
        self.answer: Span = (0, 0)
        self.answered = False
        self.closed = False
        self.scanner = AnswerScanner(keys)
        self._keys = keys
        self._current = self.scanner  # reads the `<answer>` that is open
        self._start = 0  # where its content starts
        self._settled = False  # an answer is complete; only a later one can replace it
        self._later: list[RawInstance] = []
        self._tags = TagSplitter()
        self._phase: Literal["thinking", "between", "answer", "after"] = "thinking"
        if not tagged:
            self._phase, self.answered = "answer", True
        self._at = 0  # characters before the current piece
        self._opened: int | None = None  # where the content of `<think>` starts
        self._unread: list[str] = []  # text that belongs to no part yet
        self._held: list[str] = []  # the thinking from its first `<answer>` on
        self._held_at = 0

    def feed(self, text: str) -> Step:
        """Read the next piece of text."""
        step = Step()
        for piece in self._tags.feed(text):
            self._read(piece, step)
        return step

    def finish(self, cut: bool) -> Step:
        """Read the text's end. `cut`: whether the token limit ended it."""
        step = Step()
        self._read(self._tags.close(), step)
        if self._phase == "thinking" and self._held:
            self._choose(cut, step)
        elif self._phase == "thinking" and self._opened is not None:
            self.thinking = self._opened, self._at
        elif self._phase == "answer":
            self._end_answer(step, cut)
        elif not (self.answered or cut):
            step.found += [*self.scanner.feed("".join(self._unread)), *self.scanner.close()]
        return step

    def _read(self, piece: str, step: Step) -> None:
        match self._phase:
            case "thinking":
                self._read_thinking(piece, step)
            case "between":
                self._read_between(piece)
            case "answer":
                self._read_answer(piece, step)
        self._at += len(piece)

    def _read_thinking(self, piece: str, step: Step) -> None:
        if piece == THINK_CLOSE:
            step.thinking += [*self._unread, *self._held]
            self.thinking = self._opened or 0, self._at
            self._phase, self._unread = "between", []
            if self._keys.as_tags:
                self._phase, self.answered = "answer", True
                self._start = self._at + len(piece)
        elif piece == THINK_OPEN and self._opened is None and not self._held:
            self._opened, self._unread = self._at + len(piece), []
        elif piece == ANSWER_OPEN or self._held:
            self._held_at = self._held_at if self._held else self._at
            self._held.append(piece)
        elif self._opened is not None:
            step.thinking.append(piece)
        else:
            self._unread.append(piece)

    def _read_between(self, piece: str) -> None:
        if piece == ANSWER_OPEN:
            self._phase, self.answered = "answer", True
            self._current, self._later = AnswerScanner(self._keys), []
            self._start = self._at + len(piece)
        elif piece == D_THINK_OPEN and self.answered:
            self._phase = "after"
        else:
            self._unread.append(piece)

    def _read_answer(self, piece: str, step: Step) -> None:
        if piece not in (ANSWER_CLOSE, D_THINK_OPEN, ANSWER_OPEN):
            found = self._current.feed(piece)
            (self._later if self._settled else step.found).extend(found)
            return
        self._end_answer(step)
        self._phase = "between"
        if piece != ANSWER_CLOSE:
            self._read_between(piece)

    def _end_answer(self, step: Step, cut: bool = False) -> None:
        found = [] if cut else self._current.close()
        if not self._settled:
            step.found += found
        elif cut or not self._current.is_answer:
            return
        else:
            step.found, step.replaces = [*self._later, *found], True
        self.scanner, self.closed = self._current, not cut
        self.answer = self._start, self._at
        self._settled = self.scanner.is_answer

    def _choose(self, cut: bool, step: Step) -> None:
        """Find the answer in a thinking without `</think>`."""
        blocks = _blocks(self._held, self._held_at)
        last = blocks[-1]
        if cut and not last.closed and self._opened is not None:
            step.thinking += self._held
            self.thinking = self._opened, self._at
            return
        chosen = next((one for one in reversed(blocks) if self._read_block(one)[0].is_answer), last)
        self.scanner, found = self._read_block(chosen, cut and not chosen.closed)
        step.found += found
        self.answered, self.closed = True, chosen.closed
        self.answer = chosen.start, chosen.end
        if self._opened is not None:
            step.thinking.append("".join(self._held)[: chosen.tag_at - self._held_at])
            self.thinking = self._opened, chosen.tag_at

    def _read_block(
        self, block: _Block, cut: bool = False
    ) -> tuple[AnswerScanner, list[RawInstance]]:
        scanner = AnswerScanner(self._keys)
        found = scanner.feed(block.content)
        return scanner, found if cut else [*found, *scanner.close()]


def _blocks(pieces: list[str], at: int) -> list[_Block]:
    """Each `<answer>` in these pieces, which start with one, `at` characters into the text."""
    blocks: list[_Block] = []
    tag_at, content = at, [""]
    ended = True
    for piece in [*pieces, ""]:
        ends = piece in (ANSWER_OPEN, ANSWER_CLOSE, D_THINK_OPEN, "")
        if ends and not ended:
            start = tag_at + len(ANSWER_OPEN)
            text = "".join(content)
            blocks.append(_Block(tag_at, start, at, text, piece != ""))
            ended = True
        if piece == ANSWER_OPEN:
            tag_at, content, ended = at, [], False
        elif not ended:
            content.append(piece)
        at += len(piece)
    return blocks
