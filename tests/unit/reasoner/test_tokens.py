"""Token counts, from tokens' bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wise_serve.reasoner.answer import AnswerReader, Frame
from wise_serve.reasoner.strategies import STRATEGIES
from wise_serve.reasoner.tokens import TokenCounts, count_tokens


@pytest.mark.parametrize(
    ("tokens", "counts"),
    [
        ([b"<think>", b"red", b" cup", b"</think>", b"<answer>", b"{", b"}", b"</answer>"],
         (2, 2, 8)),
        # Tags in pieces; a token that ends a tag and begins the text counts for the text.
        ([b"<", b"think", b"> a", b" b", b" </", b"think", b"><", b"answer", b">{",
          b"}</"], (3, 2, 10)),
        # Half letters: each token of the letter counts.
        ([b"<think>", b"\xc3", b"\xa9", b"</think>"], (2, 0, 4)),
        ([b"<think>", b"a", b"b"], (2, 0, 3)),
        ([b"<think>", b"a", b"<answer>", b"{}", b"</answer>"], (1, 1, 5)),
        ([b"a", b"</think>", b"<answer>", b"1"], (1, 1, 4)),
        ([b"<answer>", b"{}", b"<d_think>", b"why"], (0, 1, 4)),
        ([b"<think>", b"</think>", b"<answer>", b"</answer>"], (0, 0, 4)),
        ([b"no", b" tags"], (0, 0, 2)),
        ([], (0, 0, 0)),
    ],
)  # fmt: skip
def test_tokens_of_each_part_are_counted(tokens: list[bytes], counts: tuple[int, int, int]) -> None:
    assert count_tokens(tokens, STRATEGIES["wise-s"]) == TokenCounts(*counts)


PIECES = st.sampled_from(
    ["<think>", "</think>", "<answer>", "</answer>", "<d_think>", "a", " ", "é"]
)


@given(st.lists(PIECES, max_size=12))
def test_same_parts_as_the_answer_reader(pieces: list[str]) -> None:
    text = "".join(pieces)
    reader = AnswerReader(STRATEGIES["wise-s"], Frame(10, 10, 10))
    reader.feed(text)
    rationale = reader.finish("stop")[0].rationale
    counted = count_tokens(
        [bytes([byte]) for byte in text.encode()], STRATEGIES["wise-s"]
    ).thinking_tokens
    assert counted >= len(rationale.encode())
    assert bool(counted) >= bool(rationale)
