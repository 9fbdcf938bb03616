"""The messages between gateway and segmenter worker, and how they are framed.

A frame is a length (4 bytes, little-endian, unsigned) and a MessagePack map. The map is decoded to
the types below, and refused if it does not fit them. Pixels are not in frames: an `Open` comes with
the file descriptor of an anonymous memory file (memfd, SCM_RIGHTS). That file has no name, so
nothing is left when one side is killed.

Every message about a request contains its id, for the logs of both sides.
"""

import mmap
import os
import struct
from collections.abc import Iterator
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from wise_serve.contract.names import CacheResult, Operation, Precision
from wise_serve.contract.prompts import Mask, Prompt

MAX_FRAME_BYTES = 64 * 2**20
_LENGTH = struct.Struct("<I")


class Message(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Base of all messages; the class's name is the tag on the wire."""


class Configure(Message, frozen=True):
    """First message to a worker. `device`: torch's name, such as 'cpu' or 'cuda'."""

    segmenter: str
    device: str
    threads: int
    precision: Precision
    tf32: bool
    compile: bool
    encode_batch_size: int
    decode_batch_size: int
    batch_wait_ms: float
    max_queue: int
    cache_bytes: int
    heartbeat_every_s: float
    log_level: str
    segmenter_config: str | None = None


class Open(Message, frozen=True):
    """Encode an image: height x width x 3 bytes of RGB in the descriptor that comes with it."""

    session: int
    request_id: str
    digest: str
    height: int
    width: int


class Reopen(Message, frozen=True):
    """As `Open`, for an image whose embedding the worker should have: without its pixels."""

    session: int
    request_id: str
    digest: str
    height: int
    width: int


class Decode(Message, frozen=True):
    """Decode prompts on a session's image."""

    operation: int
    session: int
    request_id: str
    prompts: tuple[Prompt, ...]


class Cancel(Message, frozen=True):
    """The gateway no longer waits for this operation."""

    operation: int
    request_id: str


class Close(Message, frozen=True):
    """End a session; its work that has not started is dropped."""

    session: int
    request_id: str


class Stop(Message, frozen=True):
    """End the worker."""


class Ready(Message, frozen=True):
    """The worker has answered its own warm-up request. `device`: torch's name of it."""

    device: str


class NotStarted(Message, frozen=True):
    """The worker cannot start, and ends. `reason` is safe to show."""

    reason: str


class Heartbeat(Message, frozen=True):
    """Sign of life of the worker. `queue_depth`: items that wait."""

    queue_depth: int


class BatchDone(Message, frozen=True):
    """A batch of `size` items was run."""

    operation: Operation
    size: int
    queue_depth: int


class Encoded(Message, frozen=True):
    """A session's embedding exists. Times in milliseconds."""

    session: int
    request_id: str
    queue_ms: float
    work_ms: float
    cache: CacheResult


class Decoded(Message, frozen=True):
    """An operation's masks, in the order of its prompts. Times in milliseconds."""

    operation: int
    request_id: str
    masks: tuple[Mask, ...]
    queue_ms: float
    work_ms: float
    rle_ms: float


class Failed(Message, frozen=True):
    """An encode (`session` set) or a decode (`operation` set) failed. `reason` is safe to show.

    'no_image': the encode of the decode's session failed; that failure has its own message.
    'image_unknown': there is no embedding for a `Reopen`.
    """

    request_id: str
    code: Literal["overloaded", "out_of_memory", "no_image", "image_unknown", "internal"]
    reason: str
    session: int | None = None
    operation: int | None = None


ToWorker = Configure | Open | Reopen | Decode | Cancel | Close | Stop
FromWorker = Ready | NotStarted | Heartbeat | BatchDone | Encoded | Decoded | Failed

_encoder = msgspec.msgpack.Encoder()
to_worker_decoder = msgspec.msgpack.Decoder(ToWorker)
from_worker_decoder = msgspec.msgpack.Decoder(FromWorker)


class ProtocolError(Exception):
    """The other side sent something that is not a frame or not one of these messages."""


def frame(message: Message) -> bytes:
    """A message as bytes on the wire. Raises ProtocolError beyond MAX_FRAME_BYTES."""
    body = _encoder.encode(message)
    if len(body) > MAX_FRAME_BYTES:
        raise ProtocolError(f"a message of {len(body)} bytes is too large")
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Puts frames together from the pieces that a stream delivers."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Bodies of the frames that `data` completes. Raises ProtocolError if one is too long."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAX_FRAME_BYTES:
                raise ProtocolError(f"a frame of {length} bytes is too large")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield body


def share_pixels(pixels: NDArray[np.uint8]) -> int:
    """Copy an image (H x W x 3 uint8) into a new anonymous memory file; the caller closes it."""
    descriptor = os.memfd_create("wise-pixels", os.MFD_CLOEXEC)
    try:
        left = memoryview(np.ascontiguousarray(pixels).data).cast("B")
        while left:  # written, not mapped: a mapping would fault once for each page
            left = left[os.write(descriptor, left) :]
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def map_pixels(descriptor: int, height: int, width: int) -> NDArray[np.uint8]:
    """The image in a descriptor, H x W x 3 uint8, without a copy; closes the descriptor.

    The memory is released with the array. Raises ProtocolError if the sizes do not agree.
    """
    try:
        size = height * width * 3
        if size <= 0 or os.fstat(descriptor).st_size != size:
            raise ProtocolError("the pixels' memory does not have the announced size")
        memory = mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY)
    finally:
        os.close(descriptor)
    return np.frombuffer(memory, np.uint8).reshape(height, width, 3)
