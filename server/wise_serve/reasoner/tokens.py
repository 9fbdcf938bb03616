"""Counts tokens as the paper does: by the bytes of the tokens, never by characters.

The paper's 112 -> 23 (arXiv 2604.02040) counts the tokens of the text inside `<think>`.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from wise_serve.reasoner import FinishReason
from wise_serve.reasoner.parts import PartReader, Span
from wise_serve.reasoner.strategies import Strategy


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Numbers of generated tokens.

    thinking: inside `<think>`, without the tags. answer: inside `<answer>`, without the tags.
    completion: all."""

    thinking_tokens: int
    answer_tokens: int
    completion_tokens: int


def count_tokens(
    token_texts: Sequence[bytes], strategy: Strategy, reason: FinishReason = "stop"
) -> TokenCounts:
    """Count the tokens of a generation.

    token_texts: the bytes of each token. strategy: the one by which its answer is read. finish: why
    it ended. A token counts for a part if at least one of its bytes is inside the part; so a token
    counts that contains the end of a tag and the first letter after it.
    """
    ends = list(accumulate(map(len, token_texts)))
    thinking, answer = _spans(b"".join(token_texts), reason == "length", strategy)

    def inside(span: Span) -> int:
        starts = [0, *ends]
        return sum(
            max(start, span[0]) < min(end, span[1])
            for start, end in zip(starts, ends, strict=False)
        )

    return TokenCounts(inside(thinking), inside(answer), len(token_texts))


def _spans(text: bytes, cut: bool, strategy: Strategy) -> tuple[Span, Span]:
    """Start and end of thinking and answer in bytes, as `PartReader` finds them.

    Bytes that are not UTF-8, such as an incomplete character at the end, are counted too.
    """
    letters = text.decode("utf-8", "surrogateescape")
    parts = PartReader(strategy.keys, strategy.tagged)
    parts.feed(letters)
    parts.finish(cut)

    def in_bytes(span: Span) -> Span:
        start = len(letters[: span[0]].encode("utf-8", "surrogateescape"))
        return start, start + len(letters[slice(*span)].encode("utf-8", "surrogateescape"))

    return in_bytes(parts.thinking), in_bytes(parts.answer)


class Vocabulary:
    """The texts of a tokenizer's tokens. `special`: its special and added tokens."""

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer`: of transformers. Its sets are kept: each access makes a new one."""
        self._tokenizer = tokenizer
        self._added = frozenset(tokenizer.get_added_vocab())
        flagged = (str(one) for one in tokenizer.added_tokens_decoder.values() if one.special)
        self._left_out = frozenset([*tokenizer.all_special_tokens, *flagged])
        self.special = self._added | self._left_out

    def texts(self, token_ids: Sequence[int]) -> list[bytes]:
        """The UTF-8 bytes of each token in the text: none of a special one, such as the end of the
        turn, since the engine leaves it out of the text."""
        names: list[str] = self._tokenizer.convert_ids_to_tokens(list(token_ids))
        return [b"" if name in self._left_out else token_bytes(name, self._added) for name in names]


def token_bytes(token: str, added: Set[str]) -> bytes:
    """The bytes of one token, from its name in the vocabulary.

    added: the tokens whose name is their text."""
    if token in added:
        return token.encode()
    return bytes(_BYTE_OF[letter] for letter in token if letter in _BYTE_OF)


def _byte_letters() -> dict[str, int]:
    """GPT-2's byte-level alphabet: the printable character that stands for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in printable]
    return letters | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTE_OF = _byte_letters()
