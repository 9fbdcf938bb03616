"""Generation that goes on where the model has only thought of an answer.

vLLM ends a generation at the first `</answer>`. Some models write a whole `<answer>` inside their
thinking, weigh it, and answer differently after `</think>`; what was only thought of must not be
served. Ours, because vLLM's stop strings know nothing of the text before them. Such a generation is
sent again with what was written so far, which the prefix cache holds; any other costs nothing.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace

from wise_serve.reasoner import ReasonDelta
from wise_serve.reasoner.parts import ANSWER_CLOSE, THINK_CLOSE, THINK_OPEN

Generate = Callable[[tuple[int, ...]], AsyncGenerator[ReasonDelta, None]]


async def until_answered(generate: Generate, max_tokens: int) -> AsyncGenerator[ReasonDelta, None]:
    """The deltas of one answer, as if they came from one generation.

    generate: generates on behind the tokens given, which were generated before (none at first), up
    to and including the next `</answer>`. max_tokens: limit of all of them together. `text` and
    `token_ids` of a delta are what it added; the counts of the prompt are those of the first.
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
                    # A text that only ended, without another `</answer>`, ends the answer, too.
                    more = "".join(pieces[begun:]).endswith(ANSWER_CLOSE)
                    more = more and is_thinking("".join(pieces))
                yield replace(
                    delta,
                    prompt_tokens=first.prompt_tokens,
                    cached_tokens=first.cached_tokens,
                    finish_reason=None if more else delta.finish_reason,
                )


def is_thinking(text: str) -> bool:
    """Whether the text ends inside `<think>`, which is not closed yet."""
    return text.rfind(THINK_OPEN) > text.rfind(THINK_CLOSE)
