"""Serves fakes that fail as the query asks; run by test_canaries.py and test_access_process.py."""

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
from numpy.typing import NDArray

from fakes import FOUND, FakeReasoner, FakeSegmenter
from wise_serve.contract.errors import ReasonerLost
from wise_serve.observe.metrics import Metrics
from wise_serve.pipeline.runtime import build_runtime
from wise_serve.reasoner import ReasonDelta, ReasonRequest
from wise_serve.reasoner.strategies import STRATEGIES
from wise_serve.segmenter import ImageSession
from wise_serve.server.serving import serve
from wise_serve.settings import Settings


class FailingSegmenter(FakeSegmenter):
    """Lost under the request that asks for it, and back for the next one."""

    @asynccontextmanager
    async def open(
        self, pixels: NDArray[np.uint8], digest: str, request_id: str
    ) -> AsyncIterator[ImageSession]:
        self.lost = False
        async with super().open(pixels, digest, request_id) as session:
            yield session


class FailingReasoner(FakeReasoner):
    """What a query asks for stands between colons: `please :lose-reasoner:`."""

    def __init__(self, segmenter: FakeSegmenter) -> None:
        super().__init__(script=self._write)
        self._segmenter = segmenter

    def _write(self, prompt: str) -> str:
        if ":defect:" in prompt:
            raise RuntimeError(f"a defect that quotes {prompt}")
        if ":defects-in-a-group:" in prompt:
            raise ExceptionGroup(prompt, [KeyError(prompt), ValueError(prompt)])
        if ":lost-task:" in prompt:  # an exception that nobody awaits
            asyncio.get_running_loop().call_soon(self._fail, prompt)
        return "no answer" if ":unparsed:" in prompt else FOUND

    @staticmethod
    def _fail(prompt: str) -> None:
        raise LookupError(prompt)

    async def stream(self, request: ReasonRequest) -> AsyncGenerator[ReasonDelta, None]:
        if ":lose-reasoner:" in request.prompt:
            raise ReasonerLost("The reasoning engine ended under this request.")
        self._segmenter.lost |= ":lose-segmenter:" in request.prompt
        if ":slow:" in request.prompt:
            await asyncio.sleep(60)
        async for delta in super().stream(request):
            yield delta


if __name__ == "__main__":
    segmenter = FailingSegmenter()
    reasoner = FailingReasoner(segmenter)
    sys.exit(serve(build_runtime(Settings(port=0), STRATEGIES, reasoner, segmenter, Metrics())))
