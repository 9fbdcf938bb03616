"""One image at a worker: the session that the pipeline uses."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import NoReturn

from wise_serve.contract.errors import (
    ImageUnknown,
    InternalError,
    Overloaded,
    SegmenterLost,
    WiseError,
)
from wise_serve.contract.prompts import Mask, Prompt
from wise_serve.segmenter import Timing
from wise_serve.segmenter.supervisor.process import WorkerProcess
from wise_serve.segmenter.wire import messages as protocol

_FAILURES: dict[str, Callable[[str], WiseError]] = {
    "overloaded": Overloaded,
    "out_of_memory": Overloaded,  # it may fit when fewer images are in work
    "no_image": InternalError,
    "image_unknown": ImageUnknown,
    "internal": InternalError,
}


class Session:
    """`ImageSession` on one worker, lost with it. The pipeline's deadline bounds every wait."""

    def __init__(
        self,
        worker: WorkerProcess,
        numbers: "itertools.count[int]",
        request_id: str,
    ) -> None:
        self._worker, self._numbers, self._number = worker, numbers, next(numbers)
        self._request_id = request_id
        self._encoded: asyncio.Future[protocol.FromWorker] | None = None

    def open(self, height: int, width: int, digest: str, descriptor: int) -> None:
        """Queue the encode; closes the descriptor. Raises SegmenterLost."""
        self._encoded = self._worker.call(
            self._number,
            protocol.Open(self._number, self._request_id, digest, height, width),
            descriptor,
        )

    def reopen(self, height: int, width: int, digest: str) -> None:
        """Use the embedding that the worker should have. Raises SegmenterLost."""
        self._encoded = self._worker.call(
            self._number,
            protocol.Reopen(self._number, self._request_id, digest, height, width),
        )

    async def encoded(self) -> Timing:
        """See `ImageSession.encoded`; also raises Overloaded, ImageUnknown, DeadlineExceeded."""
        assert self._encoded is not None
        answer = await self._answer(asyncio.shield(self._encoded))
        assert isinstance(answer, protocol.Encoded)
        return Timing(answer.queue_ms, answer.work_ms, cached=answer.cache != "miss")

    async def lost(self) -> NoReturn:
        """See `ImageSession.lost`."""
        await self._worker.until_lost()
        raise SegmenterLost("The segmenter was lost.")

    async def decode(self, prompts: Sequence[Prompt]) -> tuple[list[Mask], Timing]:
        """See `ImageSession.decode`; also raises Overloaded."""
        if not prompts:
            return [], Timing(0.0, 0.0)
        number = next(self._numbers)
        future = self._worker.call(
            number, protocol.Decode(number, self._number, self._request_id, tuple(prompts))
        )
        try:
            answer = await self._answer(future)
        finally:
            if self._worker.forget(number):
                self._worker.send(protocol.Cancel(number, self._request_id))
        assert isinstance(answer, protocol.Decoded)
        return list(answer.masks), Timing(answer.queue_ms, answer.work_ms, answer.rle_ms)

    def close(self) -> None:
        """Release everything that the worker keeps for this image."""
        self._worker.forget(self._number)
        self._worker.send(protocol.Close(self._number, self._request_id))

    async def _answer(self, future: "asyncio.Future[protocol.FromWorker]") -> protocol.FromWorker:
        answer = await future  # ends with the worker; the request's deadline bounds the wait
        if isinstance(answer, protocol.Failed):
            if answer.code == "no_image":
                await self.encoded()  # raises why there is none
            raise _FAILURES[answer.code](answer.reason)
        return answer
