"""Answers in the formats of the papers' checkpoints, and the expected result of each.

A checkpoint with random weights writes noise, so the rehearsal's server is made to write these
texts: token by token the tokenizer's own encoding of the whole text. What is expected is computed
here from the vocabulary file alone, without the server's code.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from rehearsal_checkpoint import vocabulary_file
from rehearsal_published import ADDED_TOKENS, VOCABULARY_TOKENS

END: Final = "</answer>"
# In the reasoner's square of 840 x 840, and where they lie in an image of 1000 x 500.
BOX, BOX_IN_IMAGE = (84, 168, 420, 504), (100, 100, 500, 300)
POINTS, POINTS_IN_IMAGE = ((126, 210), (252, 336)), ((150, 125), (300, 200))
_ANSWER = f'{{"bbox": {list(BOX)}, "points_1": {list(POINTS[0])}, "points_2": {list(POINTS[1])}}}'
_ONE_LINE = _ANSWER.replace(" ", "").replace('"', "'")
# After the answer: generation must have stopped before it.
_TAIL = "\n<d_think> The detailed explanation, which is never paid for. </d_think>"


@dataclass(frozen=True)
class Written:
    """A text that the server is made to write for the query `query`."""

    query: str
    strategy: str
    text: str
    objects: int = 1

    @property
    def rationale(self) -> str:
        """The text between the tags of `<think>`."""
        return self.text.partition("<think>")[2].partition("</think>")[0]


TEXTS: Final = (
    Written(
        "an answer as published",
        "wise-s",
        "<think> The cup with a handle stands nearest to her hand. </think>\n"
        f"<answer>{_ANSWER}</answer>{_TAIL}",
    ),
    # No white space, so that tags share tokens with the text around them; and letters that
    # take two to four bytes, of which some lie in several tokens.
    Written(
        "letters cut in the middle",
        "wise-s",
        f"<think>古い𓂀と🏺🫖は「naïve」の右、ẞ𝔘</think><answer>{_ONE_LINE}</answer>{_TAIL[1:]}",
    ),
    Written(
        "white space within the tags",
        "seg-zero",
        f"<think>\n\nFirst, \tlook at the “left” side…\n</think>\n\n<answer>\n{_ANSWER}\n"
        f"</answer> and more{_TAIL}",
    ),
    Written(
        "several objects",
        "vision-reasoner",
        f'<think>Both.</think><answer>[{{"bbox_2d": {list(BOX)}, "point_2d": {list(POINTS[0])}}}, '
        f'{{"bbox_2d": {list(BOX)}, "point_2d": {list(POINTS[1])}}}]</answer>{_TAIL}',
        objects=2,
    ),
)


@dataclass(frozen=True)
class Counts:
    """Tokens: inside `<think>`, inside `<answer>` (both without tags), and up to the one that
    completes `</answer>`; tags_split: tags whose letters lie in more than one token;
    letters_split: letters whose bytes do."""

    thinking: int
    answer: int
    completion: int
    tags_split: int
    letters_split: int


def bytes_by_token() -> dict[int, bytes]:
    """The bytes of each token of the vocabulary, the added tokens included."""
    lines = vocabulary_file().read_bytes().split(b"\n")
    pairs = (line.split() for line in lines if line)
    plain = {int(number): base64.b64decode(token) for token, number in pairs}
    added = {VOCABULARY_TOKENS + place: text.encode() for place, text in enumerate(ADDED_TOKENS)}
    return plain | added


def count(text: str, token_ids: Sequence[int], vocabulary: dict[int, bytes]) -> Counts:
    """The counts that the server must report for `text` in these tokens."""
    pieces = [vocabulary[number] for number in token_ids]
    whole = text.encode()
    assert b"".join(pieces) == whole, "the tokenizer and its vocabulary file disagree"
    ends = list(accumulate(map(len, pieces)))
    starts = [0, *ends[:-1]]

    def between(opening: str, closing: str) -> int:
        first = whole.index(opening.encode()) + len(opening)
        last = whole.index(closing.encode())
        return touching(first, last)

    def touching(first: int, last: int) -> int:
        return sum(s < last and e > first for s, e in zip(starts, ends, strict=True))

    tags = ("<think>", "</think>", "<answer>", END)
    places = [(whole.index(tag.encode()), len(tag)) for tag in tags]
    letters = [len(letter.encode()) for letter in text]
    letter_starts = [0, *accumulate(letters)]
    end = whole.index(END.encode()) + len(END)
    return Counts(
        thinking=between("<think>", "</think>"),
        answer=between("<answer>", END),
        completion=next(place for place, e in enumerate(ends, 1) if e >= end),
        tags_split=sum(touching(at, at + length) > 1 for at, length in places),
        letters_split=sum(
            touching(at, at + length) > 1
            for at, length in zip(letter_starts, letters, strict=False)
        ),
    )


def grammar(token_ids: Sequence[int]) -> str:
    """In llguidance's form of Lark: exactly these tokens, in this order."""
    return "start: " + " ".join(f"<[{number}]>" for number in token_ids)


def scripts(tokenizer: Any) -> dict[str, str]:
    """The grammar of each text, by its query."""
    return {one.query: grammar(tokenizer.encode(one.text)) for one in TEXTS}
