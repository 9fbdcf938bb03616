"""The Ray stand-ins of both models around fakes, without a cluster: only what crosses between
processes is real. Pixels go through a real object store, and what is answered through pickle.

With `WISE_HTTP_TESTS_ON=ray` the tests of `tests/http` run on them (`make ray-test`).
"""

import asyncio
import pickle
from collections.abc import AsyncIterator, Generator
from contextlib import suppress
from typing import Any

from ray.exceptions import RayTaskError

import ray
from fakes import FakeReasoner, FakeSegmenter
from wise_serve.ray.reasoner import RemoteReasoner
from wise_serve.ray.replicas import ReasonerReplica, SegmenterReplica
from wise_serve.ray.segmenter import RemoteSegmenter
from wise_serve.settings import Settings

OBJECT_STORE_BYTES = 128 * 2**20


def on_ray(
    settings: Settings, reasoner: FakeReasoner, segmenter: FakeSegmenter
) -> tuple[RemoteReasoner, RemoteSegmenter]:
    """The fakes in replicas, as the ingress sees them."""
    if not ray.is_initialized():
        ray.init(
            num_cpus=1,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
        )
    reasoning, segmenting = _Reasoning.__new__(_Reasoning), _Segmenting.__new__(_Segmenting)
    reasoning._reasoner, segmenting._segmenter = reasoner, segmenter
    seen = (
        RemoteReasoner(settings, Handle(reasoning)),
        RemoteSegmenter(settings, Handle(segmenting)),
    )
    seen[0].name, seen[1].name = reasoner.name, segmenter.name
    return seen


class _Reasoning(ReasonerReplica):
    def __del__(self) -> None:  # type: ignore[override]
        """The fake is the test's own."""

    async def facts(self) -> Any:
        await self._reasoner.start()
        return await super().facts()


class _Segmenting(SegmenterReplica):
    def __del__(self) -> None:  # type: ignore[override]
        """The fake is the test's own."""

    async def facts(self) -> None:
        await self._segmenter.start()


class Handle:
    """Ray's DeploymentHandle, as far as the stand-ins use it, on a replica in this process."""

    def __init__(self, replica: Any, stream: bool = False) -> None:
        self._replica, self._stream = replica, stream

    def options(self, *, stream: bool) -> "Handle":
        return Handle(self._replica, stream)

    def __getattr__(self, method: str) -> "Method":
        return Method(getattr(self._replica, method), self._stream)


class Method:
    """Its calls cross as they do in Ray: references on top fetched, answers pickled."""

    def __init__(self, method: Any, stream: bool) -> None:
        self._method, self._stream = method, stream

    def remote(self, *args: Any, **named: Any) -> Any:
        fetched = [ray.get(one) if isinstance(one, ray.ObjectRef) else one for one in args]
        called = self._method(*fetched, **crossed(named))
        return Stream(called) if self._stream else Single(called)


def crossed(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


class Single:
    def __init__(self, called: Any) -> None:
        self._task = asyncio.ensure_future(called)

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            answer = yield from self._task.__await__()
        except Exception as error:
            raise RayTaskError("call", "its trace", error) from None
        return crossed(answer)

    def cancel(self) -> None:
        self._task.cancel()


class Stream:
    def __init__(self, called: Any) -> None:
        self._called = called

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            async for item in self._called:
                yield crossed(item)
        except Exception as error:
            raise RayTaskError("call", "its trace", error) from None

    def cancel(self) -> None:
        self._closing = asyncio.ensure_future(self._close())

    async def _close(self) -> None:
        with suppress(RuntimeError):  # it runs, and ends by its caller's cancellation
            await self._called.aclose()
