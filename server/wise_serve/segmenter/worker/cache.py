"""Image embeddings kept for the next request about the same image."""

from collections import OrderedDict
from typing import Generic

from wise_serve.segmenter.model import EmbeddingT


class EmbeddingCache(Generic[EmbeddingT]):
    """Embeddings by digest; beyond `limit_bytes` the least recently used ones are evicted."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._entries: OrderedDict[str, EmbeddingT] = OrderedDict()
        self.used_bytes = 0

    def get(self, digest: str) -> EmbeddingT | None:
        """The embedding of `digest`, or None. It becomes the most recently used one."""
        if digest in self._entries:
            self._entries.move_to_end(digest)
        return self._entries.get(digest)

    def put(self, digest: str, embedding: EmbeddingT) -> None:
        """Keep an embedding, unless it is larger than the whole cache."""
        if digest in self._entries:
            self.used_bytes -= self._entries.pop(digest).nbytes
        if embedding.nbytes > self._limit_bytes:
            return
        self._entries[digest] = embedding
        self.used_bytes += embedding.nbytes
        while self.used_bytes > self._limit_bytes:
            _, dropped = self._entries.popitem(last=False)
            self.used_bytes -= dropped.nbytes
