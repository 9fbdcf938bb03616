"""Image embeddings kept for the next request about the same image."""

from collections import OrderedDict
from typing import Literal, Protocol

CacheResult = Literal["hit", "shared", "miss"]


class Embedding(Protocol):
    """What an encode makes."""

    @property
    def nbytes(self) -> int:
        """Memory it holds, bytes."""


class EmbeddingCache:
    """Embeddings by digest; the least recently used ones go when `limit_bytes` is passed."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._entries: OrderedDict[str, Embedding] = OrderedDict()
        self.used_bytes = 0

    def get(self, digest: str) -> Embedding | None:
        """Look up, and mark as used now."""
        if digest in self._entries:
            self._entries.move_to_end(digest)
        return self._entries.get(digest)

    def put(self, digest: str, embedding: Embedding) -> None:
        """Keep an embedding. One that is larger than the whole cache is not kept."""
        if digest in self._entries:
            self.used_bytes -= self._entries.pop(digest).nbytes
        if embedding.nbytes > self._limit_bytes:
            return
        self._entries[digest] = embedding
        self.used_bytes += embedding.nbytes
        while self.used_bytes > self._limit_bytes:
            _, dropped = self._entries.popitem(last=False)
            self.used_bytes -= dropped.nbytes
