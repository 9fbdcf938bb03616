"""What a worker does: it reads messages, runs batches on the model and sends the results.

No torch here, so that tests can use a fake model that fails. It uses two threads: `receive` reads
messages and sends heartbeats, `drive` runs the model.
"""

import logging
import time
from typing import Generic

from wise_serve.contract.errors import Overloaded
from wise_serve.contract.names import Operation
from wise_serve.segmenter.model import DecodedMask, DecodeItem, EmbeddingT, Model
from wise_serve.segmenter.wire import messages as protocol
from wise_serve.segmenter.wire.channel import WorkerChannel
from wise_serve.segmenter.worker.batcher import Batcher
from wise_serve.segmenter.worker.items import Decode, Encode
from wise_serve.segmenter.worker.recovery import run_batch
from wise_serve.segmenter.worker.requests import DecodeRequest, Session

log = logging.getLogger("wise_serve.segmenter")


class Service(Generic[EmbeddingT]):
    """Serves one gateway over one channel."""

    def __init__(
        self,
        channel: WorkerChannel,
        model: Model[EmbeddingT],
        work: Batcher[EmbeddingT],
        heartbeat_every_s: float,
    ) -> None:
        self._channel, self._model, self._work = channel, model, work
        self._heartbeat_every_s = heartbeat_every_s
        self._sessions: dict[int, Session] = {}
        self._operations: dict[int, DecodeRequest] = {}

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
                        self._open(message, descriptor)
                    case protocol.Reopen():
                        self._reopen(message)
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
        """Run batches until the batcher stops. Raises errors that the model calls fatal."""
        while batch := self._work.next_batch():
            if isinstance(batch[0], Encode):
                self._run_encodes(batch)
            else:
                self._run_decodes(batch)
            batch = []  # so that the embeddings are freed while this waits for the next batch

    def _open(self, message: protocol.Open, descriptor: int | None) -> None:
        if descriptor is None:
            raise protocol.ProtocolError("an image came without its pixels")
        image = protocol.map_pixels(descriptor, message.height, message.width)
        session = self._started(message)
        try:
            session.cache = self._work.open(message.session, message.digest, image)
        except Overloaded as error:
            self._sessions.pop(message.session)
            self._fail(message.request_id, error, session=message.session)
            return
        self._report_hit(message, session)

    def _reopen(self, message: protocol.Reopen) -> None:
        session = self._started(message)
        cache = self._work.reopen(message.session, message.digest)
        if cache is None:
            self._sessions.pop(message.session)
            reason = "The image is no longer known; send it again."
            self._channel.send(
                protocol.Failed(message.request_id, "image_unknown", reason, message.session)
            )
            return
        session.cache = cache
        self._report_hit(message, session)

    def _started(self, message: protocol.Open | protocol.Reopen) -> Session:
        size = message.height, message.width
        session = Session(message.request_id, size, time.monotonic())
        self._sessions[message.session] = session
        return session

    def _report_hit(self, message: protocol.Open | protocol.Reopen, session: Session) -> None:
        if session.cache == "hit":
            self._channel.send(
                protocol.Encoded(message.session, message.request_id, 0.0, 0.0, "hit")
            )

    def _decode(self, message: protocol.Decode) -> None:
        operation = DecodeRequest(message.request_id, len(message.prompts))
        self._operations[message.operation] = operation
        try:
            self._work.decode(message.operation, message.session, message.prompts)
        except Overloaded as error:
            self._operations.pop(message.operation)
            self._fail(message.request_id, error, operation=message.operation)
        except KeyError:
            self._operations.pop(message.operation)
            reason = "The image was not encoded."
            self._channel.send(
                protocol.Failed(message.request_id, "no_image", reason, operation=message.operation)
            )

    def _run_encodes(self, batch: list[Encode[EmbeddingT]]) -> None:
        started = time.monotonic()
        images = [item.image for item in batch if item.image is not None]
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

    def _encode_failed(self, item: Encode[EmbeddingT], error: Exception) -> None:
        sessions, operations = self._work.encode_failed(item)
        for number in sessions:
            session = self._sessions.pop(number, None)
            if session is not None:
                self._fail(session.request_id, error, session=number)
        for number in operations:
            operation = self._operations.pop(number, None)
            if operation is not None:
                self._fail(operation.request_id, error, operation=number)

    def _run_decodes(self, batch: list[Decode[EmbeddingT]]) -> None:
        started = time.monotonic()
        sessions = [self._sessions.get(item.session) for item in batch]
        wanted = [  # a session may have been closed since the batch was formed
            (item, session.size)
            for item, session in zip(batch, sessions, strict=True)
            if session is not None and item.operation in self._operations
        ]
        items = [DecodeItem(item.embedding, item.prompt, size) for item, size in wanted]
        results = (
            run_batch(self._model.decode, items, self._model.is_out_of_memory, self._model.is_fatal)
            if items
            else []
        )
        work_ms = (time.monotonic() - started) * 1e3
        for (item, _), result in zip(wanted, results, strict=True):
            operation = self._operations.get(item.operation)
            if operation is None:
                continue
            operation.queue_ms = max(operation.queue_ms, (started - item.queued_at) * 1e3)
            operation.work_ms = max(operation.work_ms, work_ms)
            if isinstance(result, Exception):
                self._operations.pop(item.operation, None)  # it may have been cancelled meanwhile
                self._fail(operation.request_id, result, operation=item.operation)
            else:
                self._decoded(item, operation, result)
        self._report("decode", len(batch))

    def _decoded(
        self, item: Decode[EmbeddingT], operation: DecodeRequest, decoded: DecodedMask
    ) -> None:
        try:
            operation.add(item.position, decoded)
            if operation.complete:
                self._operations.pop(item.operation, None)
                self._channel.send(operation.answer(item.operation))
                log.debug("decoded", extra={"request_id": operation.request_id})
        except Exception as error:  # such as masks too large for a message: the device is well
            self._operations.pop(item.operation, None)
            self._fail(operation.request_id, error, operation=item.operation)

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
