"""The cache of embeddings: bounded in bytes, the least recently used goes first."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from wise_serve.segmenter.worker.cache import EmbeddingCache


@dataclass(frozen=True)
class Vector:
    nbytes: int = 10
    name: str = ""


def test_the_cache_drops_the_least_recently_used() -> None:
    cache: EmbeddingCache[Vector] = EmbeddingCache(25)
    cache.put("a", Vector(10))
    cache.put("b", Vector(10))
    assert cache.get("a") is not None
    cache.put("c", Vector(10))
    assert cache.get("b") is None
    assert cache.get("a") is not None
    assert cache.used_bytes == 20


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 60))))
def test_the_cache_stays_within_its_limit(puts: list[tuple[str, int]]) -> None:
    cache: EmbeddingCache[Vector] = EmbeddingCache(50)
    for digest, size in puts:
        cache.put(digest, Vector(size))
        assert cache.used_bytes <= 50
        kept = cache.get(digest)
        assert (kept is not None and kept.nbytes == size) == (size <= 50)
