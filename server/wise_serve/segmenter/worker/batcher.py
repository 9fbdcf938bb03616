"""Which work the device does next: batches, their order, and which sessions share an embedding.

Pure Python, no torch: an embedding is any object with `nbytes`. Two threads use a `Batcher`: one
adds work, the other (the device's) gets batches and returns results.

The work of a session is one encode and any number of decodes. Sessions with the same digest share
one encode. A decode waits until its embedding exists. Meanwhile it is not in the queue, but counts
towards the queue's limit.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from wise_serve.contract.errors import Overloaded
from wise_serve.contract.names import CacheResult, Operation
from wise_serve.contract.prompts import Prompt
from wise_serve.segmenter.model import EmbeddingT, Pixels
from wise_serve.segmenter.worker.cache import EmbeddingCache
from wise_serve.segmenter.worker.items import Decode, Encode

MAX_DECODES_IN_A_ROW = 8  # then a waiting encode gets its turn


Batch = list[Encode[EmbeddingT]] | list[Decode[EmbeddingT]]
Item = TypeVar("Item")


class Batcher(Generic[EmbeddingT]):
    """The queue in front of one device.

    A batch is ready when it is full or its oldest item has waited `wait_s`; decodes go before
    encodes, since they are short and finish a request. `max_queue` bounds all items that wait.
    """

    def __init__(
        self,
        *,
        encode_batch_size: int,
        decode_batch_size: int,
        wait_s: float,
        max_queue: int,
        cache: EmbeddingCache[EmbeddingT],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sizes: dict[Operation, int] = {
            "encode": encode_batch_size,
            "decode": decode_batch_size,
        }
        self._wait_s, self._max_queue, self._cache, self._clock = wait_s, max_queue, cache, clock
        self._changed = threading.Condition()
        self._encodes: deque[Encode[EmbeddingT]] = deque()
        self._decodes: deque[Decode[EmbeddingT]] = deque()
        self._sessions: dict[int, Encode[EmbeddingT]] = {}
        self._unfinished: dict[str, Encode[EmbeddingT]] = {}  # by digest: queued or running
        self._parked = 0
        self._decodes_in_a_row = 0
        self._stopped = False

    @property
    def depth(self) -> int:
        """Items that wait, parked decodes included."""
        with self._changed:
            return self._depth()

    def open(self, session: int, digest: str, image: Pixels) -> CacheResult:
        """Start a session. 'hit': its embedding exists; otherwise it will after `encoded`.

        `image` is kept only on 'miss'. Raises Overloaded when the queue is full.
        """
        with self._changed:
            known = self._join(session, digest)
            if known is not None:
                return known
            self._refuse_beyond(1)
            item: Encode[EmbeddingT] = Encode(digest, image, {session}, queued_at=self._clock())
            self._sessions[session] = self._unfinished[digest] = item
            self._encodes.append(item)
            self._changed.notify()
            return "miss"

    def reopen(self, session: int, digest: str) -> CacheResult | None:
        """As `open`, without the image.

        None, and no session, if there is no embedding and none is being computed.
        """
        with self._changed:
            return self._join(session, digest)

    def decode(self, operation: int, session: int, prompts: Sequence[Prompt]) -> None:
        """Queue one decode for each prompt, or park them until the embedding exists.

        Raises Overloaded when they do not all fit in the queue, KeyError for an unknown session.
        """
        with self._changed:
            source = self._sessions[session]
            self._refuse_beyond(len(prompts))
            items = [
                Decode(operation, session, position, prompt, source, self._clock())
                for position, prompt in enumerate(prompts)
            ]
            if source.embedding is None:
                source.parked += items
                self._parked += len(items)
            else:
                self._decodes += items
                self._changed.notify()

    def cancel(self, operation: int) -> None:
        """Drop the decodes of an operation that have not started."""
        with self._changed:
            self._drop_decodes(lambda item: item.operation == operation)

    def close(self, session: int) -> None:
        """End a session: its work that has not started is dropped. Ignores unknown sessions."""
        with self._changed:
            source = self._sessions.pop(session, None)
            if source is None:
                return
            self._drop_decodes(lambda item: item.session == session)
            source.sessions.discard(session)
            if not source.sessions and source in self._encodes:
                self._encodes.remove(source)
                self._unfinished.pop(source.digest, None)

    def next_batch(self, timeout_s: float | None = None) -> Batch[EmbeddingT]:
        """Wait for a batch and return it. It is empty after `timeout_s`, or after `stop`."""
        give_up = None if timeout_s is None else self._clock() + timeout_s
        with self._changed:
            while not self._stopped:
                now = self._clock()
                operation = self._ready(now)
                if operation == "decode":
                    self._decodes_in_a_row += 1
                    return _take(self._decodes, self._sizes["decode"])
                if operation == "encode":
                    self._decodes_in_a_row = 0
                    return _take(self._encodes, self._sizes["encode"])
                if give_up is not None and now >= give_up:
                    break
                moments = [
                    queue[0].queued_at + self._wait_s
                    for queue in (self._encodes, self._decodes)
                    if queue
                ]
                moments += [give_up] if give_up is not None else []
                self._changed.wait(max(min(moments) - now, 0.0) if moments else None)
            return []

    def encoded(self, item: Encode[EmbeddingT], embedding: EmbeddingT) -> list[int]:
        """Return the result of an encode. The decodes that waited for it are queued.

        Returns the sessions that still need it.
        """
        with self._changed:
            item.embedding, item.image = embedding, None
            self._unfinished.pop(item.digest, None)
            self._cache.put(item.digest, embedding)
            self._parked -= len(item.parked)
            for decode in item.parked:
                decode.queued_at = self._clock()
            self._decodes += item.parked
            item.parked = []
            self._changed.notify()
            return sorted(item.sessions)

    def encode_failed(self, item: Encode[EmbeddingT]) -> tuple[list[int], list[int]]:
        """Report a failed encode. Returns its sessions, and the operations that waited for it."""
        with self._changed:
            item.image = None
            self._unfinished.pop(item.digest, None)
            operations = sorted({decode.operation for decode in item.parked})
            self._parked -= len(item.parked)
            item.parked = []
            for session in item.sessions:
                self._sessions.pop(session, None)
            return sorted(item.sessions), operations

    def stop(self) -> None:
        """Let `next_batch` return an empty batch, now and always from now on."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _join(self, session: int, digest: str) -> CacheResult | None:
        """Start a session on an embedding that exists or is being computed, if there is one."""
        cached = self._cache.get(digest)
        if cached is not None:
            self._sessions[session] = Encode(digest, None, {session}, cached)
            return "hit"
        known = self._unfinished.get(digest)
        if known is None:
            return None
        known.sessions.add(session)
        self._sessions[session] = known
        return "shared"

    def _depth(self) -> int:
        return len(self._encodes) + len(self._decodes) + self._parked

    def _refuse_beyond(self, more: int) -> None:
        if self._depth() + more > self._max_queue:
            raise Overloaded("The segmenter's queue is full.")

    def _ready(self, now: float) -> Operation | None:
        def ready(queue: deque[Encode[EmbeddingT]] | deque[Decode[EmbeddingT]], size: int) -> bool:
            return bool(queue) and (len(queue) >= size or now >= queue[0].queued_at + self._wait_s)

        encode = ready(self._encodes, self._sizes["encode"])
        if encode and self._decodes_in_a_row >= MAX_DECODES_IN_A_ROW:
            return "encode"
        if ready(self._decodes, self._sizes["decode"]):
            return "decode"
        return "encode" if encode else None

    def _drop_decodes(self, unwanted: Callable[[Decode[EmbeddingT]], bool]) -> None:
        self._decodes = deque(item for item in self._decodes if not unwanted(item))
        for source in self._unfinished.values():
            kept = [item for item in source.parked if not unwanted(item)]
            self._parked -= len(source.parked) - len(kept)
            source.parked = kept


def _take(queue: deque[Item], size: int) -> list[Item]:
    return [queue.popleft() for _ in range(min(size, len(queue)))]
