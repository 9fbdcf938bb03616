"""What a supervisor reports to the metrics about its worker; the pool of workers uses it, too."""

from collections.abc import Callable
from typing import Protocol

from wise_serve.contract.names import CacheResult, Operation


class SegmenterObserver(Protocol):
    """What the metrics want to know. Called on the event loop; must not block or raise."""

    def batch(self, operation: Operation, size: int) -> None:
        """A batch was run."""

    def queue_depth(self, items: int) -> None:
        """Items that wait at the worker, as of its last word."""

    def restart(self) -> None:
        """A worker died and another one is being started."""

    def watch(self, alive: Callable[[], bool]) -> None:
        """`alive` says at any time whether the worker would answer."""

    def cache(self, result: CacheResult) -> None:
        """An image's embedding was there ('hit'), being made ('shared'), or not ('miss')."""


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
