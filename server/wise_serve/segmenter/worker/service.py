"""The worker's work, without its process: messages in, batches through the model, messages out.

No torch here, so that faults of the device can be tested with a fake model. Two threads: `receive`
reads messages and beats the heart, `drive` runs the model.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from wise_serve.contract.errors import Overloaded
from wise_serve.imaging import masks
from wise_serve.segmenter import Prompt
from wise_serve.segmenter.wire import messages as protocol
from wise_serve.segmenter.wire.channel import WorkerChannel
from wise_serve.segmenter.worker import batcher
from wise_serve.segmenter.worker.batcher import Batcher, Operation
from wise_serve.segmenter.worker.cache import CacheResult, Embedding
from wise_serve.segmenter.worker.recovery import run_batch

log = logging.getLogger("wise_serve.segmenter")


@dataclass(frozen=True, slots=True)
class Query:
    """One prompt on one embedded image, whose size is (height, width) in pixels."""

    embedding: Embedding
    prompt: Prompt
    size: tuple[int, int]


class Model(Protocol):
    """What runs on the device."""

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> Sequence[Embedding]:
        """Embed H x W x 3 uint8 RGB images in one batch."""

    def decode(self, queries: Sequence[Query]) -> Sequence[tuple[NDArray[np.int64], float]]:
        """Run lengths of the mask (as COCO has them, not compressed) and predicted IoU of each
        query, in one batch."""

    def is_out_of_memory(self, error: Exception) -> bool:
        """Whether a smaller batch may succeed."""

    def is_fatal(self, error: Exception) -> bool:
        """Whether the device is lost, so that only a new process can help."""


@dataclass
class _Session:
    request_id: str
    size: tuple[int, int]
    opened_at: float
    cache: CacheResult = "miss"


@dataclass
class _Operation:
    """A decode request: its answers as they come, by position."""

    request_id: str
    expected: int
    queue_ms: float = 0.0
    work_ms: float = 0.0
    rle_ms: float = 0.0
    masks: dict[int, protocol.MaskMessage] = field(default_factory=dict)


class Service:
    """Serves one gateway over one channel."""

    def __init__(
        self, channel: WorkerChannel, model: Model, work: Batcher, heartbeat_every_s: float
    ) -> None:
        self._channel, self._model, self._work = channel, model, work
        self._heartbeat_every_s = heartbeat_every_s
        self._sessions: dict[int, _Session] = {}
        self._operations: dict[int, _Operation] = {}

    def receive(self) -> None:
        """Read messages until `Stop`. Raises EOFError or OSError when the gateway is gone."""
        beat_at = 0.0
        while True:
            if time.monotonic() >= beat_at:
                self._channel.send(protocol.Heartbeat(self._work.depth))
                beat_at = time.monotonic() + self._heartbeat_every_s
            wait_s = max(beat_at - time.monotonic(), 0.0)
            for message, descriptor in self._channel.receive(wait_s):
                match message:
                    case protocol.Open():
                        self._open(message, cast(int, descriptor))
                    case protocol.Decode():
                        self._decode(message)
                    case protocol.Cancel():
                        self._work.cancel(message.operation)
                        self._operations.pop(message.operation, None)
                    case protocol.Close():
                        self._work.close(message.session)
                        self._sessions.pop(message.session, None)
                    case protocol.Stop():
                        self._work.stop()
                        return

    def drive(self) -> None:
        """Run batches until the batcher stops. Raises what the model calls fatal."""
        while batch := self._work.next_batch():
            if isinstance(batch[0], batcher.Encode):
                self._run_encodes(batch)
            else:
                self._run_decodes(batch)
            batch = []  # while this waits for the next one, nothing keeps the embeddings alive

    def _open(self, message: protocol.Open, descriptor: int) -> None:
        image = protocol.map_pixels(descriptor, message.height, message.width)
        session = _Session(message.request_id, (message.height, message.width), time.monotonic())
        self._sessions[message.session] = session
        try:
            session.cache = self._work.open(message.session, message.digest, image)
        except Overloaded as error:
            self._sessions.pop(message.session)
            self._fail(message.request_id, error, session=message.session)
            return
        if session.cache == "hit":
            self._channel.send(
                protocol.Encoded(message.session, message.request_id, 0.0, 0.0, "hit")
            )

    def _decode(self, message: protocol.Decode) -> None:
        prompts: list[object] = [Prompt(p.box, p.points) for p in message.prompts]
        operation = _Operation(message.request_id, len(prompts))
        self._operations[message.operation] = operation
        try:
            self._work.decode(message.operation, message.session, prompts)
        except Overloaded as error:
            self._operations.pop(message.operation)
            self._fail(message.request_id, error, operation=message.operation)
        except KeyError:
            self._operations.pop(message.operation)
            reason = "The image was not encoded."
            self._channel.send(
                protocol.Failed(message.request_id, "no_image", reason, operation=message.operation)
            )

    def _run_encodes(self, batch: list[batcher.Encode]) -> None:
        started = time.monotonic()
        images = [cast(NDArray[np.uint8], item.image) for item in batch]
        results = run_batch(
            self._model.encode, images, self._model.is_out_of_memory, self._model.is_fatal
        )
        del images
        work_ms = (time.monotonic() - started) * 1e3
        for item, result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                self._encode_failed(item, result)
                continue
            for number in self._work.encoded(item, result):
                session = self._sessions.get(number)
                if session is not None:
                    queue_ms = max(started - session.opened_at, 0.0) * 1e3
                    log.debug("encoded", extra={"request_id": session.request_id})
                    self._channel.send(
                        protocol.Encoded(
                            number, session.request_id, queue_ms, work_ms, session.cache
                        )
                    )
        self._report("encode", len(batch))

    def _encode_failed(self, item: batcher.Encode, error: Exception) -> None:
        sessions, operations = self._work.encode_failed(item)
        for number in sessions:
            session = self._sessions.pop(number, None)
            if session is not None:
                self._fail(session.request_id, error, session=number)
        for number in operations:
            operation = self._operations.pop(number, None)
            if operation is not None:
                self._fail(operation.request_id, error, operation=number)

    def _run_decodes(self, batch: list[batcher.Decode]) -> None:
        started = time.monotonic()
        sessions = [self._sessions.get(item.session) for item in batch]
        wanted = [  # a session may have been closed since the batch was taken
            (item, session.size)
            for item, session in zip(batch, sessions, strict=True)
            if session is not None and item.operation in self._operations
        ]
        queries = [Query(item.embedding, cast(Prompt, item.prompt), size) for item, size in wanted]
        results = (
            run_batch(
                self._model.decode, queries, self._model.is_out_of_memory, self._model.is_fatal
            )
            if queries
            else []
        )
        work_ms = (time.monotonic() - started) * 1e3
        for (item, size), result in zip(wanted, results, strict=True):
            operation = self._operations.get(item.operation)
            if operation is None:
                continue
            operation.queue_ms = max(operation.queue_ms, (started - item.queued_at) * 1e3)
            operation.work_ms = max(operation.work_ms, work_ms)
            if isinstance(result, Exception):
                self._operations.pop(item.operation)
                self._fail(operation.request_id, result, operation=item.operation)
            else:
                self._decoded(item, operation, size, *result)
        self._report("decode", len(batch))

    def _decoded(
        self,
        item: batcher.Decode,
        operation: _Operation,
        size: tuple[int, int],
        runs: NDArray[np.int64],
        score: float,
    ) -> None:
        started = time.monotonic()
        counts = masks.compress(size, runs)
        area = int(runs[1::2].sum())
        operation.masks[item.position] = protocol.MaskMessage(size, counts, score, area)
        operation.rle_ms += (time.monotonic() - started) * 1e3
        if len(operation.masks) == operation.expected:
            self._operations.pop(item.operation, None)
            log.debug("decoded", extra={"request_id": operation.request_id})
            self._channel.send(
                protocol.Decoded(
                    item.operation,
                    operation.request_id,
                    tuple(operation.masks[position] for position in range(operation.expected)),
                    operation.queue_ms,
                    operation.work_ms,
                    operation.rle_ms,
                )
            )

    def _report(self, operation: Operation, size: int) -> None:
        self._channel.send(protocol.BatchDone(operation, size, self._work.depth))

    def _fail(
        self,
        request_id: str,
        error: Exception,
        *,
        session: int | None = None,
        operation: int | None = None,
    ) -> None:
        if isinstance(error, Overloaded):
            failed = protocol.Failed(request_id, "overloaded", str(error), session, operation)
        elif self._model.is_out_of_memory(error):
            reason = "The segmenter's device has not enough memory for this image."
            failed = protocol.Failed(request_id, "out_of_memory", reason, session, operation)
        else:
            reason = "The segmenter could not work on this image."
            failed = protocol.Failed(request_id, "internal", reason, session, operation)
            log.error("work failed", exc_info=error, extra={"request_id": request_id})
        self._channel.send(failed)
