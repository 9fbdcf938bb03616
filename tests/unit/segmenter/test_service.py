"""A worker with a fake model on a real socket: which requests fail when the device fails."""

import logging
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pictures import runs_of
from wise_serve.contract.prompts import Prompt
from wise_serve.imaging import masks
from wise_serve.segmenter.model import DecodedMask, DecodeItem
from wise_serve.segmenter.wire import messages as protocol
from wise_serve.segmenter.wire.channel import WorkerChannel
from wise_serve.segmenter.wire.messages import FrameReader, frame
from wise_serve.segmenter.worker.batcher import Batcher
from wise_serve.segmenter.worker.cache import EmbeddingCache
from wise_serve.segmenter.worker.requests import DecodeRequest
from wise_serve.segmenter.worker.service import Service

BAD, HUGE, DEADLY = 13, 14, 15  # first pixel of images that make the model fail


@dataclass(frozen=True)
class Brightness:
    """The fake embedding: the image's first pixel."""

    value: int
    nbytes: int = 1


class FakeModel:
    """Masks the box; fails on the images named above, or on a prompt whose box starts at BAD."""

    def __init__(self) -> None:
        self.encoded: list[int] = []

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> Sequence[Brightness]:
        values = [int(image[0, 0, 0]) for image in images]
        if HUGE in values:
            raise MemoryError
        if DEADLY in values:
            raise ConnectionError
        if BAD in values:
            raise ValueError
        self.encoded += values
        return [Brightness(value) for value in values]

    def decode(self, items: Sequence[DecodeItem[Brightness]]) -> Sequence[DecodedMask]:
        answers = []
        for item in items:
            assert item.prompt.box is not None
            x1, y1, x2, y2 = (int(value) for value in item.prompt.box)
            if x1 == BAD:
                raise ValueError
            mask = np.zeros(item.size, np.bool_)
            mask[y1:y2, x1:x2] = True
            answers.append(DecodedMask(item.size, runs_of(mask), item.embedding.value / 255))
        return answers

    def is_out_of_memory(self, error: Exception) -> bool:
        return isinstance(error, MemoryError)

    def is_fatal(self, error: Exception) -> bool:
        return isinstance(error, ConnectionError)


class Gateway:
    """The other end of the socket, blocking."""

    def __init__(self, max_queue: int = 100, wait_s: float = 0.02) -> None:
        self.connection, theirs = socket.socketpair()
        self.connection.settimeout(5)
        self.model = FakeModel()
        self.work: Batcher[Brightness] = Batcher(
            encode_batch_size=8,
            decode_batch_size=8,
            wait_s=wait_s,
            max_queue=max_queue,
            cache=EmbeddingCache(100),
        )
        self.theirs = theirs
        self.service = Service(WorkerChannel(theirs), self.model, self.work, 60.0)
        self.driver_died: list[Exception] = []
        self.threads = [
            threading.Thread(target=self.service.receive),
            threading.Thread(target=self._drive),
        ]
        for thread in self.threads:
            thread.start()
        self._messages = self._read()

    def _drive(self) -> None:
        try:
            self.service.drive()
        except ConnectionError as error:
            self.driver_died.append(error)

    def open(self, session: int, value: int, digest: str | None = None, width: int = 30) -> None:
        image = np.full((20, width, 3), value, np.uint8)
        message = protocol.Open(session, f"seg-{session}", digest or str(session), 20, width)
        socket.send_fds(self.connection, [frame(message)], [protocol.share_pixels(image)])

    def decode(self, operation: int, session: int, *boxes: tuple[int, int, int, int]) -> None:
        prompts = tuple(
            Prompt((float(a), float(b), float(c), float(d)), ()) for a, b, c, d in boxes
        )
        self.send(protocol.Decode(operation, session, f"seg-{session}", prompts))

    def send(self, message: protocol.Message) -> None:
        self.connection.sendall(frame(message))

    def _read(self) -> Iterator[protocol.FromWorker]:
        reader = FrameReader()
        while True:
            for body in reader.feed(self.connection.recv(65536)):
                yield protocol.from_worker_decoder.decode(body)

    def answers(self, count: int) -> list[protocol.Encoded | protocol.Decoded | protocol.Failed]:
        found: list[protocol.Encoded | protocol.Decoded | protocol.Failed] = []
        while len(found) < count:
            message = next(self._messages)
            if isinstance(message, protocol.Encoded | protocol.Decoded | protocol.Failed):
                found.append(message)
        return found

    def close(self) -> None:
        self.send(protocol.Stop())
        for thread in self.threads:
            thread.join(5)
            assert not thread.is_alive()
        self.connection.close()
        self.theirs.close()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    made = Gateway()
    yield made
    made.close()


def test_log_lines_carry_the_request_id(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "wise_serve.segmenter"):
        gateway.open(1, 51)
        gateway.decode(2, 1, (0, 0, 5, 4))
        gateway.answers(2)
        gateway.open(3, BAD)
        gateway.answers(1)
    told = [(record.message, vars(record).get("request_id")) for record in caplog.records]
    assert told == [("encoded", "seg-1"), ("decoded", "seg-1"), ("work failed", "seg-3")]


def test_masks_come_back_in_the_order_of_the_prompts(gateway: Gateway) -> None:
    gateway.open(1, 51)
    gateway.decode(2, 1, (0, 0, 5, 4), (10, 10, 12, 12))
    encoded, decoded = gateway.answers(2)
    assert isinstance(encoded, protocol.Encoded)
    assert (encoded.session, encoded.request_id, encoded.cache) == (1, "seg-1", "miss")
    assert isinstance(decoded, protocol.Decoded)
    assert (decoded.operation, decoded.request_id) == (2, "seg-1")
    assert [mask.area for mask in decoded.masks] == [20, 4]
    assert decoded.masks[0].score == pytest.approx(0.2)
    assert masks.decode_rle(decoded.masks[0].size, decoded.masks[0].counts)[:4, :5].all()


def test_an_image_that_fails_does_not_take_its_batch_mates(gateway: Gateway) -> None:
    for session, value in ((1, 50), (2, BAD), (3, HUGE), (4, 60)):
        gateway.open(session, value)
    gateway.decode(9, 2, (0, 0, 1, 1))  # parked behind the bad one
    by_session = {}
    for answer in gateway.answers(5):
        if isinstance(answer, protocol.Failed) and answer.operation is not None:
            assert (answer.operation, answer.code) == (9, "internal")
            continue
        assert isinstance(answer, protocol.Encoded | protocol.Failed)
        code = answer.code if isinstance(answer, protocol.Failed) else "ok"
        by_session[answer.session] = code
    assert by_session == {1: "ok", 2: "internal", 3: "out_of_memory", 4: "ok"}


def test_a_prompt_that_fails_does_not_take_its_batch_mates(gateway: Gateway) -> None:
    gateway.open(1, 50)
    gateway.answers(1)
    gateway.decode(7, 1, (1, 1, 3, 3))
    gateway.decode(8, 1, (1, 1, 3, 3), (BAD, 1, 20, 3))
    answers = gateway.answers(2)
    kinds = {
        answer.operation: type(answer).__name__
        for answer in answers
        if isinstance(answer, protocol.Decoded | protocol.Failed)
    }
    assert kinds == {7: "Decoded", 8: "Failed"}


def test_an_answer_that_is_too_large_fails_alone(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "MAX_FRAME_BYTES", 3000)
    gateway.open(1, 50, width=4000)
    gateway.answers(1)
    gateway.decode(7, 1, (0, 1, 4000, 2))  # a run in each column, of a byte or more
    (failed,) = gateway.answers(1)
    assert isinstance(failed, protocol.Failed)
    assert (failed.operation, failed.code) == (7, "internal")
    gateway.decode(8, 1, (0, 0, 5, 4))
    (decoded,) = gateway.answers(1)
    assert isinstance(decoded, protocol.Decoded)


def test_a_mask_that_cannot_be_compressed_fails_alone(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = masks.compress

    def compress(size: tuple[int, int], runs: NDArray[np.int64]) -> str:
        if runs[0] == BAD:
            raise MemoryError
        return real(size, runs)

    monkeypatch.setattr(masks, "compress", compress)
    gateway.open(1, 50)
    gateway.answers(1)
    gateway.decode(7, 1, (0, BAD, 5, 20), (0, 0, 5, 4))
    gateway.decode(8, 1, (0, 0, 5, 4))
    failed, decoded = gateway.answers(2)
    assert isinstance(failed, protocol.Failed)
    assert failed.operation == 7
    assert isinstance(decoded, protocol.Decoded)


class CancelledAtOnce(dict[int, DecodeRequest]):
    """An operation that is looked up is cancelled right after, as by the other thread."""

    def get(self, key: int, default: Any = None) -> Any:
        return self.pop(key, default)


def test_a_failed_decode_may_be_cancelled_at_any_moment(gateway: Gateway) -> None:
    gateway.service._operations = CancelledAtOnce()
    gateway.open(1, 50)
    gateway.answers(1)
    gateway.decode(7, 1, (BAD, 1, 20, 3))
    gateway.answers(1)
    gateway.open(2, 60)
    (encoded,) = gateway.answers(1)
    assert isinstance(encoded, protocol.Encoded)


def test_one_digest_is_encoded_once(gateway: Gateway) -> None:
    gateway.open(1, 50, "same")
    gateway.open(2, 50, "same")
    gateway.answers(2)
    gateway.open(3, 50, "same")
    (third,) = gateway.answers(1)
    assert isinstance(third, protocol.Encoded)
    assert third.cache == "hit"
    assert gateway.model.encoded == [50]


def test_a_closed_session_gets_no_answer() -> None:
    gateway = Gateway(wait_s=0.5)
    try:
        gateway.open(1, 50)
        gateway.send(protocol.Close(1, "seg-1"))
        gateway.open(2, 60)
        (answer,) = gateway.answers(1)
        assert isinstance(answer, protocol.Encoded)
        assert answer.session == 2
        assert gateway.model.encoded == [60]
    finally:
        gateway.close()


def test_a_full_queue_is_reported_as_overloaded() -> None:
    gateway = Gateway(max_queue=2, wait_s=0.5)
    try:
        gateway.open(1, 50)
        gateway.decode(7, 1, (0, 0, 1, 1), (0, 0, 1, 1))
        (answer,) = (a for a in gateway.answers(2) if isinstance(a, protocol.Failed))
        assert (answer.operation, answer.code) == (7, "overloaded")
    finally:
        gateway.close()


def test_a_decode_on_an_image_that_failed_gets_its_error(gateway: Gateway) -> None:
    gateway.open(1, BAD)
    gateway.answers(1)
    gateway.decode(7, 1, (0, 0, 1, 1))
    (answer,) = gateway.answers(1)
    assert isinstance(answer, protocol.Failed)
    assert (answer.operation, answer.code) == (7, "no_image")


def test_a_lost_device_ends_the_driver() -> None:
    gateway = Gateway()
    gateway.open(1, DEADLY)
    gateway.threads[1].join(5)
    assert len(gateway.driver_died) == 1
    gateway.close()
