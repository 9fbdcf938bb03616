"""Generation that continues if the first `</answer>` is only part of the model's thinking.

vLLM ends a generation at the first `</answer>`. Some models write an `<answer>` inside their
thinking, consider it, and answer differently after `</think>`; the considered answer must not be
served. vLLM's stop strings cannot depend on the text before them, so this module checks that text.
Such a generation is sent again with the text so far, which is in the prefix cache. Any other
generation costs nothing extra.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from wise_serve.reasoner import ReasonDelta
from wise_serve.reasoner.parts import ANSWER_CLOSE, THINK_CLOSE, THINK_OPEN

Generate = Callable[[tuple[int, ...]], AsyncGenerator[ReasonDelta, None]]
TokenTexts = Callable[[Sequence[int]], list[bytes]]


async def until_answered(
    generate: Generate, max_tokens: int, token_texts: TokenTexts
) -> AsyncGenerator[ReasonDelta, None]:
    """The deltas of one answer, as if they came from one generation.

    generate: is given the tokens generated so far (at first none) and generates up to and including
    the next `</answer>`. max_tokens: limit of all generations together. token_texts: the UTF-8
    bytes of tokens. `text` and `token_ids` of a delta are what it added; its counts of the prompt
    are those of the first generation.
    """
    pieces, written = list[str](), list[int]()
    first: ReasonDelta | None = None
    more = True
    while more:
        begun, more = len(pieces), False
        async with aclosing(generate(tuple(written))) as deltas:
            async for delta in deltas:
                first = first or delta
                pieces.append(delta.text)
                written += delta.token_ids
                if delta.finish_reason == "stop" and len(written) < max_tokens:
                    # A text that ends by itself, without another `</answer>`, also ends the answer.
                    more = "".join(pieces[begun:]).endswith(ANSWER_CLOSE)
                    more = more and is_thinking("".join(pieces))
                rest = _after(pieces, token_texts(written)) if more else ""
                pieces.append(rest)
                yield replace(
                    delta,
                    text=delta.text + rest,
                    prompt_tokens=first.prompt_tokens,
                    cached_tokens=first.cached_tokens,
                    finish_reason=None if more else delta.finish_reason,
                )


def _after(pieces: Sequence[str], tokens: Sequence[bytes]) -> str:
    """What the last token holds after `</answer>`, where vLLM cuts the text but not the token: in
    `</answer></think>` the `</` of the second tag may belong to a token with the end of the first.
    """
    text, whole = "".join(pieces), b"".join(tokens).decode("utf-8", "ignore")
    return whole[len(text) :] if whole.startswith(text) else ""


def is_thinking(text: str) -> bool:
    """Whether the text ends inside `<think>`, before `</think>`."""
    return text.rfind(THINK_OPEN) > text.rfind(THINK_CLOSE)
