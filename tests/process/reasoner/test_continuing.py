"""The real engine continues after existing tokens as if it had not stopped."""

import gc
import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from miniature.scenes import draw_scene
from wise_serve.contract.errors import InvalidField
from wise_serve.miniature import REASONER_IMAGE_SIZE
from wise_serve.reasoner import ReasonDelta, ReasonRequest
from wise_serve.reasoner.engine import VllmReasoner
from wise_serve.reasoner.strategies import STRATEGIES
from wise_serve.settings import Settings

# vLLM's front end leaves its ZMQ context to Python's end of the process.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Unclosed context:ResourceWarning",
    "ignore:.*zmq:pytest.PytestUnraisableExceptionWarning",
    "ignore:Exception ignored in. <function Context:pytest.PytestUnraisableExceptionWarning",
)


@pytest.fixture(autouse=True)
def _environment_of_its_own() -> Iterator[None]:
    """The engine sets variables for its child processes: those of later tests must not get them.
    What is left of it is freed here, where the warnings above are allowed."""
    with patch.dict(os.environ):
        yield
    gc.collect()


async def everything(deltas: AsyncGenerator[ReasonDelta, None]) -> list[ReasonDelta]:
    async with aclosing(deltas):
        return [delta async for delta in deltas]


async def test_a_continued_generation_writes_the_same_tokens() -> None:
    settings = Settings(device="cpu", kv_cache_bytes=64 * 2**20)
    reasoner = VllmReasoner(settings, STRATEGIES)
    side = (REASONER_IMAGE_SIZE,) * 2
    scene = draw_scene(np.random.default_rng(0)).image.resize(side, Image.Resampling.BILINEAR)
    prompt = STRATEGIES["seg-zero"].prompt("the red circle")
    request = ReasonRequest("one", scene, "scene", prompt, 200)
    try:
        await reasoner.start()
        whole = await everything(reasoner.stream(request))
        tokens = tuple(token for delta in whole for token in delta.token_ids)
        for kept in (1, len(tokens) // 2):
            rest = await everything(reasoner._generate(request, tokens[:kept]))
            assert tuple(token for delta in rest for token in delta.token_ids) == tokens[kept:]
            assert rest[0].prompt_tokens == whole[0].prompt_tokens + kept
            assert rest[-1].finish_reason == "stop"
        # Each of these characters takes three tokens of the miniature's vocabulary.
        long = replace(request, prompt=STRATEGIES["seg-zero"].prompt("日" * 1000))
        with pytest.raises(InvalidField, match=r"too long for this model: .* than 2048 tokens"):
            await everything(reasoner.stream(long))
    finally:
        await reasoner.stop()
