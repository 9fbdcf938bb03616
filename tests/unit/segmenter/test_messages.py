"""Messages and frames, and pixels in anonymous memory."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wise_serve.contract.prompts import Prompt
from wise_serve.segmenter.wire import messages as protocol
from wise_serve.segmenter.wire.messages import FrameReader, ProtocolError, frame

MESSAGES: list[protocol.Message] = [
    protocol.Open(1, "seg-1", "d1", 480, 640),
    protocol.Decode(2, 1, "seg-1", (Prompt((1.0, 2.0, 3.5, 4.0), ((1.5, 2.5), (2.0, 3.0))),)),
    protocol.Cancel(2, "seg-1"),
    protocol.Close(1, "seg-1"),
    protocol.Stop(),
]


def test_messages_survive_encoding_and_decoding() -> None:
    reader = FrameReader()
    bodies = list(reader.feed(b"".join(frame(message) for message in MESSAGES)))
    assert [protocol.to_worker_decoder.decode(body) for body in bodies] == MESSAGES


@given(st.lists(st.integers(1, 40), min_size=1, max_size=200))
def test_frames_survive_any_cut(cuts: list[int]) -> None:
    stream = b"".join(frame(message) for message in MESSAGES)
    reader = FrameReader()
    bodies, position = [], 0
    for cut in [*cuts, len(stream)]:
        bodies += list(reader.feed(stream[position : position + cut]))
        position += cut
    assert [protocol.to_worker_decoder.decode(body) for body in bodies] == MESSAGES


@given(st.binary(max_size=300))
def test_nonsense_raises_the_protocols_error_and_no_other(data: bytes) -> None:
    try:
        bodies = list(FrameReader().feed(data))
    except ProtocolError:
        return
    for body in bodies:
        with pytest.raises(msgspec.DecodeError):
            protocol.to_worker_decoder.decode(body)


def test_a_frame_beyond_the_limit_is_refused() -> None:
    with pytest.raises(ProtocolError):
        list(FrameReader().feed(b"\xff\xff\xff\xff"))


def test_a_message_with_wrong_types_is_refused() -> None:
    body = msgspec.msgpack.encode({"type": "Close", "session": "one", "request_id": "seg-1"})
    with pytest.raises(msgspec.ValidationError):
        protocol.to_worker_decoder.decode(body)


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_pixels_cross_by_descriptor_and_leave_nothing() -> None:
    before = _descriptors()
    pixels = np.random.default_rng(1).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    arrived = protocol.map_pixels(protocol.share_pixels(pixels), 37, 53)
    assert np.array_equal(arrived, pixels)
    assert arrived.flags.writeable, "torch warns about arrays that are not"
    del arrived
    assert _descriptors() == before


def test_pixels_of_another_size_than_announced_are_refused() -> None:
    before = _descriptors()
    with pytest.raises(ProtocolError):
        protocol.map_pixels(protocol.share_pixels(np.zeros((4, 4, 3), np.uint8)), 4, 5)
    assert _descriptors() == before


def test_pixels_need_not_be_contiguous() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)[::2, ::-1]
    assert np.array_equal(protocol.map_pixels(protocol.share_pixels(pixels), 10, 30), pixels)
