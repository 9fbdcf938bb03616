"""The metrics of all replicas on one page: `/metrics` of any ingress replica shows the cluster.

Callers, Prometheus among them, reach replicas only through Ray's proxy, which picks one. So each
replica writes its page to a board every few seconds, and an ingress replica reads the board. Each
series has the labels `deployment` and `replica`; Prometheus scrapes one address and sums.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from ray import serve
from wise_serve.observe import logs
from wise_serve.observe.metrics import Metrics

EVERY_S: Final = 5.0
_GONE_AFTER_S: Final = 30.0  # a replica without a page has ended
_DEADLINE_S: Final = 5.0

Name = tuple[str, str]
"""Of a replica: its deployment, and its id."""


class Board:
    """A deployment of one replica that holds the latest page of every other. If it is lost,
    Ray starts an empty one, which has all pages again after EVERY_S."""

    def __init__(self) -> None:
        self._pages: dict[Name, tuple[float, bytes]] = {}

    async def write(self, name: Name, page: bytes) -> None:
        """Replace the page of a replica."""
        self._pages[name] = time.monotonic(), page

    async def read(self) -> dict[Name, bytes]:
        """The pages of the replicas that are there."""
        oldest = time.monotonic() - _GONE_AFTER_S
        self._pages = {name: one for name, one in self._pages.items() if one[0] > oldest}
        return {name: page for name, (_, page) in self._pages.items()}


class ClusterMetrics(Metrics):
    """An ingress replica's metrics, and on its page those of all replicas."""

    def __init__(self) -> None:
        super().__init__(segmenter_here=False)
        self._pages: dict[Name, bytes] = {}

    async def exchange(self, board: Any) -> None:
        """Write our page, and read those of the others. `board`: handle of `Board`."""
        name = own_name()
        await board.write.remote(name, super().expose())
        self._pages = {**await board.read.remote(), name: b""}

    def expose(self) -> bytes:
        """The page of the cluster: our own series as they are now, the others' as last read."""
        return merged({**self._pages, own_name(): super().expose()})


async def keep_writing(board: Any, registry: CollectorRegistry) -> None:
    """Write a model replica's page to the board for as long as the replica lives."""
    name = own_name()
    await keep_up(lambda: board.write.remote(name, generate_latest(registry)))


async def keep_up(action: Callable[[], Awaitable[None]]) -> None:
    """Call it every EVERY_S until cancelled. A failure is logged: no request depends on it."""
    while True:
        try:
            async with asyncio.timeout(_DEADLINE_S):
                await action()
        except Exception as error:
            logs.event(logging.WARNING, "metrics were not exchanged", {}, exc_info=error)
        await asyncio.sleep(EVERY_S)


def own_name() -> Name:
    """The name of this replica."""
    context = serve.get_replica_context()
    return context.deployment, context.replica_id.unique_id


def merged(pages: Mapping[Name, bytes]) -> bytes:
    """One page of all, each series labelled with its `deployment` and `replica`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Pages(pages))
    return generate_latest(registry)


class _Pages(Collector):
    def __init__(self, pages: Mapping[Name, bytes]) -> None:
        self._pages = pages

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for (deployment, replica), page in self._pages.items():
            labels = {"deployment": deployment, "replica": replica}
            for family in text_string_to_metric_families(page.decode()):
                kept = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                kept.samples += [
                    sample._replace(labels=sample.labels | labels) for sample in family.samples
                ]
        return families.values()
