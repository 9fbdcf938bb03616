"""Counts tokens as the paper does: from token ids' bytes, never from characters.

The paper's 112 -> 23 (arXiv 2604.02040) speaks of the tokens of the text inside `<think>`.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from itertools import accumulate

from wise_serve.reasoner.strategies import (
    ANSWER_CLOSE,
    ANSWER_OPEN,
    D_THINK_OPEN,
    THINK_CLOSE,
    THINK_OPEN,
)

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """thinking: inside `<think>`; answer: inside `<answer>`; both without the tags; completion:
    everything generated."""

    thinking_tokens: int
    answer_tokens: int
    completion_tokens: int


def count_tokens(token_texts: Sequence[bytes]) -> TokenCounts:
    """Count a generation, given the bytes that each of its tokens stands for.

    A token counts for a part when any of its bytes lies strictly inside; a token that holds the
    end of a tag and the first letter behind it counts.
    """
    ends = list(accumulate(map(len, token_texts)))
    thinking, answer = _spans(b"".join(token_texts))

    def inside(span: Span) -> int:
        starts = [0, *ends]
        return sum(
            max(start, span[0]) < min(end, span[1])
            for start, end in zip(starts, ends, strict=False)
        )

    return TokenCounts(inside(thinking), inside(answer), len(token_texts))


def _first(text: bytes, tags: Sequence[str], start: int) -> int:
    hits = [at for tag in tags if (at := text.find(tag.encode(), start)) >= 0]
    return min(hits, default=len(text))


def _spans(text: bytes) -> tuple[Span, Span]:
    """Where thinking and answer lie, in bytes; the same parts as `answer.PartSplitter` cuts."""
    stop = _first(text, (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN), 0)
    thinking = (0, 0)
    if text.startswith(THINK_OPEN.encode(), stop):
        start = stop + len(THINK_OPEN)
        stop = _first(text, (THINK_CLOSE, ANSWER_OPEN), start)
        thinking = (start, stop)
    elif text.startswith(THINK_CLOSE.encode(), stop):  # the opening tag is missing
        thinking = (0, stop)
    start = _first(text, (ANSWER_OPEN,), stop)
    if start == len(text):
        return thinking, (0, 0)
    start += len(ANSWER_OPEN)
    return thinking, (start, _first(text, (ANSWER_CLOSE, D_THINK_OPEN), start))


def token_bytes(token: str, added: Set[str]) -> bytes:
    """The bytes of one token, by its name in the vocabulary; one of `added` is spelled as it
    reads."""
    if token in added:
        return token.encode()
    return bytes(_BYTE_OF[letter] for letter in token if letter in _BYTE_OF)


def _byte_letters() -> dict[str, int]:
    """GPT-2's byte-level alphabet: each byte's printable stand-in, as the vocabularies spell it."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in printable]
    return letters | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTE_OF = _byte_letters()
