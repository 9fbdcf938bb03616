"""The interface through which supervisors report their workers to the metrics."""

from collections.abc import Callable
from typing import Protocol

from wise_serve.contract.names import CacheResult, Operation


class SegmenterObserver(Protocol):
    """Called on the event loop; must not block or raise."""

    def batch(self, operation: Operation, size: int) -> None:
        """A batch was run."""

    def queue_depth(self, items: int) -> None:
        """`items` wait at the worker, by its last message."""

    def restart(self) -> None:
        """A worker died and another one is being started."""

    def watch(self, alive: Callable[[], bool]) -> None:
        """`alive` may be called at any time: whether the worker can answer."""

    def cache(self, result: CacheResult) -> None:
        """A lookup of an embedding: it exists ('hit'), is being made ('shared') or not ('miss')."""


class Silent:
    """An observer that does nothing."""

    def batch(self, operation: Operation, size: int) -> None:
        """Ignored."""

    def queue_depth(self, items: int) -> None:
        """Ignored."""

    def restart(self) -> None:
        """Ignored."""

    def watch(self, alive: Callable[[], bool]) -> None:
        """Ignored."""

    def cache(self, result: CacheResult) -> None:
        """Ignored."""
