"""Ray's errors in our words, repetition, and pixels that are in the object store once."""

import asyncio
import contextlib
from dataclasses import fields, replace
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from ray.exceptions import ActorDiedError, ObjectStoreFullError, RayTaskError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RequestCancelledError,
)

import ray
from fakes import FOUND, FakeReasoner, FakeSegmenter
from ray_in_process import on_ray
from wise_serve.contract.errors import NotReady, Overloaded, SegmenterLost, Unavailable
from wise_serve.ray import calls
from wise_serve.ray.ingress import OneRequestId
from wise_serve.ray.reasoner import RemoteReasoner
from wise_serve.reasoner import ReasonRequest
from wise_serve.settings import Settings


class Method:
    """A DeploymentHandle's method whose calls end as the list says."""

    def __init__(self, *ends: Any) -> None:
        self._ends = list(ends)
        self.named: list[dict[str, Any]] = []
        self.cancelled = 0

    def remote(self, *_: object, **named: Any) -> "Call":
        self.named.append(named)
        return Call(self, self._ends.pop(0))


class Call:
    def __init__(self, method: Method, end: Any) -> None:
        self._method, self._end = method, end

    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        if isinstance(self._end, Exception):
            raise self._end
        return self._end

    def cancel(self) -> None:
        """As Ray's: it raises again what a call that was never sent has raised."""
        self._method.cancelled += 1
        if isinstance(self._end, BackPressureError | DeploymentUnavailableError):
            raise self._end


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_PAUSES_S", (0.0, 0.0, 0.0))


def ask(method: Method) -> Any:
    return asyncio.run(calls.ask(method, lost=SegmenterLost, digest="d"))


def in_replica(error: Exception) -> RayTaskError:
    return RayTaskError("decode", "Traceback: File /secret/path", error)


def test_a_lost_replica_is_asked_for_again_and_another_one_each_time() -> None:
    method = Method(ActorDiedError(), in_replica(SegmenterLost("gone")), "answer")
    assert ask(method) == "answer"
    assert [named["attempt"] for named in method.named] == [0, 1, 2]


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (ActorDiedError(), SegmenterLost),
        (RequestCancelledError("r"), SegmenterLost),
        (DeploymentUnavailableError(DeploymentID("Segmenter")), NotReady),
        (in_replica(NotReady("The segmenter is not ready.")), NotReady),
    ],
)
def test_after_the_last_attempt_the_caller_is_told_to_come_back(
    end: Exception, kind: type[Unavailable]
) -> None:
    with pytest.raises(kind) as raised:
        ask(Method(*[end] * calls.ATTEMPTS))
    assert raised.value.retry_after_s > 0


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (BackPressureError(9, 8), Overloaded),
        (in_replica(Overloaded("full", 7.0)), Overloaded),
        (in_replica(ZeroDivisionError()), RayTaskError),  # a defect: 500, its text in no answer
    ],
)
def test_an_error_that_is_not_a_lost_replica_is_not_repeated(
    end: Exception, kind: type[Exception]
) -> None:
    method = Method(end)
    with pytest.raises(kind):
        ask(method)
    assert len(method.named) == 1


def test_a_stream_that_no_replica_accepts_is_429() -> None:
    class Full:
        def options(self, **_: Any) -> "Full":
            return self

        @property
        def stream(self) -> "Full":
            return self

        def remote(self, *_: object, **__: object) -> "Full":
            return self

        async def __aiter__(self) -> Any:
            raise BackPressureError(9, 8)
            yield

        def cancel(self) -> None:
            raise BackPressureError(9, 8)  # as Ray's does then

    asked = ReasonRequest("r", Image.new("RGB", (9, 7)), "d", "p", 64)

    async def scenario() -> None:
        reasoner = RemoteReasoner(Settings(), Full())
        reasoner._pixels.put = lambda *_: contextlib.nullcontext()  # type: ignore[method-assign,assignment]
        async for _ in reasoner.stream(asked):
            raise AssertionError("nothing was generated")

    with pytest.raises(Overloaded):
        asyncio.run(scenario())


def test_our_errors_come_as_they_were_raised_without_the_replicas_trace() -> None:
    error = calls.as_ours(in_replica(Overloaded("Too many images.", 7.0)), SegmenterLost)
    assert type(error) is Overloaded
    assert (str(error), error.retry_after_s) == ("Too many images.", 7.0)


def test_a_cancelled_call_is_cancelled_at_the_replica() -> None:
    class Never(Call):
        def __await__(self) -> Any:
            return asyncio.sleep(60).__await__()

    method = Method()
    method.remote = lambda *_, **__: Never(method, None)  # type: ignore[method-assign]

    async def scenario() -> None:
        task = asyncio.create_task(calls.ask(method, lost=SegmenterLost))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())
    assert method.cancelled == 1


@pytest.mark.parametrize("side", [8, 1024])
def test_pixels_are_put_once_while_anyone_uses_them(
    monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    put: list[Any] = []

    def remember(array: Any) -> int:
        put.append(array)
        return len(put)

    monkeypatch.setattr(ray, "put", remember)
    pixels = np.zeros((side, side, 3), np.uint8)

    async def scenario() -> None:
        shared = calls.SharedPixels()

        async def use() -> Any:
            async with shared.put("a", pixels) as reference:
                await asyncio.sleep(0.02)
                return reference

        assert await asyncio.gather(*(use() for _ in range(5))) == [1] * 5
        assert await use() == 2  # let go of in between
        assert shared._held == {}

    asyncio.run(scenario())
    assert len(put) == 2


def test_a_full_object_store_is_429_and_the_next_request_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(_: Any) -> None:
        raise ObjectStoreFullError

    monkeypatch.setattr(ray, "put", full)
    shared = calls.SharedPixels()

    async def use() -> None:
        async with shared.put("a", np.zeros((4, 4, 3), np.uint8)):
            raise AssertionError("entered without pixels")

    with pytest.raises(Overloaded):
        asyncio.run(use())
    assert shared._held == {}


@pytest.mark.parametrize(("own", "left"), [("one", None), ("another", "another")])
def test_the_id_that_rays_proxy_adds_is_not_sent_twice(own: str, left: str | None) -> None:
    """The proxy adds the request's id; ours is kept only if it is another one."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"x-request-id", own.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def ask_it() -> httpx.Response:
        transport = httpx.ASGITransport(OneRequestId(application))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/", headers={"X-Request-Id": "one"})

    assert asyncio.run(ask_it()).headers.get("x-request-id") == left


def test_a_generation_reaches_the_replica_with_all_that_it_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray, "put", lambda array: array)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    fake = FakeReasoner()
    reasoner, _ = on_ray(Settings(), fake, FakeSegmenter())
    asked = ReasonRequest("r", Image.new("RGB", (9, 7), "red"), "d", "p", 64, "x*", "s", "adapter")
    assert all(getattr(asked, field.name) for field in fields(asked))  # no field is left out above

    async def scenario() -> str:
        return "".join([delta.text async for delta in reasoner.stream(asked)])

    assert asyncio.run(scenario()) == FOUND
    [arrived] = fake.requests
    assert arrived.image.tobytes() == asked.image.tobytes()
    assert replace(arrived, image=asked.image) == asked
