"""The table in `wise_client.retry`, with a clock that only the test moves."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from wise_client import AsyncClient, Client, RetryPolicy, errors
from wise_client.retry import SendTrace, may_resend

IMAGE = np.full((4, 6, 3), 255, np.uint8)
GOOD = httpx.Response(200, json={
    "id": "seg-1", "status": "no_target", "image": {"width": 6, "height": 4}, "instances": [],
    "reasoning": "", "usage": {}, "timing_ms": {}, "model": {},
})  # fmt: skip
Step = httpx.Response | Exception


def problem(status: int, retry_after: str | None = None) -> httpx.Response:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return httpx.Response(status, json={"code": f"code_{status}"}, headers=headers)


class Script:
    """A transport that plays `steps`, and the waits that the client made between them."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.waits: list[float] = []
        self.ids: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.ids.append(request.headers["X-Request-Id"])
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        # Anew: a response is read once, a step is used in several tests.
        return httpx.Response(step.status_code, headers=step.headers, content=step.content)

    async def later(self, seconds: float) -> None:
        self.waits.append(seconds)


def run_sync(script: Script, policy: RetryPolicy) -> object:
    transport = httpx.MockTransport(script)
    with Client("http://s", retry=policy, transport=transport, sleep=script.waits.append) as client:
        return client.segment(IMAGE, "q")


def run_async(script: Script, policy: RetryPolicy) -> object:
    async def run() -> object:
        transport = httpx.MockTransport(script)
        async with AsyncClient(
            "http://s", retry=policy, transport=transport, sleep=script.later
        ) as client:
            return await client.segment(IMAGE, "q")

    return asyncio.run(run())


Runner = Callable[[Script, RetryPolicy], object]
both = pytest.mark.parametrize("run", [run_sync, run_async])
HALF = RetryPolicy(random=lambda: 0.5)


@both
@pytest.mark.parametrize(
    ("steps", "waits"),
    [
        ([], []),
        ([problem(429)], [0.25]),
        ([problem(502), problem(503), problem(504)], [0.25, 0.5, 1.0]),
        ([problem(503, "7")], [7.25]),
        ([problem(429, "0")], [0.25]),
        ([problem(429), problem(429, "3")], [0.25, 3.5]),
        ([httpx.ConnectError("refused")], [0.25]),
        ([httpx.ConnectTimeout("slow")], [0.25]),
        ([httpx.WriteTimeout("slow")], [0.25]),
        ([httpx.ProxyError("403")], [0.25]),
        ([httpx.ConnectError("refused")] * 4, [0.25, 0.5, 1.0, 2.0]),
    ],
)
def test_failures_that_are_sent_again(run: Runner, steps: list[Step], waits: list[float]) -> None:
    script = Script(*steps, GOOD)
    assert "no_target" in repr(run(script, HALF))
    assert script.waits == waits
    assert len(set(script.ids)) == 1  # one id for all attempts, so that a log shows them together


@both
@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (problem(400), errors.MalformedRequestError),
        (problem(401), errors.UnauthorizedError),
        (problem(413), errors.TooLargeError),
        (problem(415), errors.UnsupportedImageError),
        (problem(422), errors.InvalidFieldError),
        (problem(500), errors.InternalServerError),
        (problem(404), errors.UnexpectedAnswerError),
        (problem(503, "61"), errors.UnavailableError),
        (httpx.Response(200, text="<html>"), errors.UnexpectedAnswerError),
        (httpx.Response(200, json=[]), errors.UnexpectedAnswerError),
        (httpx.Response(200, json={"id": 1}), errors.UnexpectedAnswerError),
        (httpx.ReadTimeout("slow"), errors.TimedOutError),
        (httpx.PoolTimeout("busy"), errors.TimedOutError),
        (httpx.ReadError("reset"), errors.ConnectionLostError),
        (httpx.RemoteProtocolError("gone"), errors.ConnectionLostError),
        (httpx.DecodingError("gzip"), errors.UnexpectedAnswerError),
    ],
)
def test_failures_that_are_not_sent_again(
    run: Runner, step: Step, kind: type[errors.WiseClientError]
) -> None:
    script = Script(step)
    with pytest.raises(kind) as caught:
        run(script, HALF)
    assert type(caught.value) is kind
    assert script.waits == []
    if not isinstance(step, httpx.DecodingError):
        assert caught.value.request_id == script.ids[0]


@both
def test_the_last_failure_is_raised_when_retries_are_used_up(run: Runner) -> None:
    script = Script(*[problem(429)] * 2, problem(503))
    with pytest.raises(errors.UnavailableError):
        run(script, RetryPolicy(max_retries=2, random=lambda: 0.5))
    assert script.waits == [0.25, 0.5]


@both
def test_statuses_can_be_excluded(run: Runner) -> None:
    script = Script(problem(504))
    with pytest.raises(errors.DeadlineExceededError):
        run(script, RetryPolicy(statuses=frozenset({429, 503})))


def test_waits_are_jittered_within_their_bounds() -> None:
    policy = RetryPolicy(max_retries=50)
    for retry in range(40):
        bound = min(8.0, 0.5 * 2**retry)
        waits = [policy.wait_s(retry, None) or 0.0 for _ in range(50)]
        assert all(0 <= wait <= bound for wait in waits)
        assert len(set(waits)) > 40
        assert all(3 <= (policy.wait_s(retry, 3.0) or 0.0) <= 3 + bound for _ in range(20))


NEW = "connection.connect_tcp.complete"
HEAD = "http11.send_request_headers.complete"
BODY = "http11.send_request_body.complete"
ANSWER = "http11.receive_response_headers.complete"


@pytest.mark.parametrize(
    ("names", "after_s", "again"),
    [
        ([], 0.0, False),
        ([NEW, HEAD, "http11.send_request_body.failed"], 0.0, True),
        ([NEW, "http11.send_request_headers.failed"], 9.0, True),
        ([HEAD, "http11.send_request_body.failed"], 9.0, True),
        ([NEW, HEAD, BODY], 0.0, False),
        ([NEW, HEAD, BODY], 9.0, False),
        ([HEAD, BODY], 0.1, True),
        ([HEAD, BODY], 1.5, False),
        ([HEAD, BODY, ANSWER], 0.1, False),
        (["http11.send_request_body.failed", ANSWER], 0.1, False),
    ],
)
def test_lost_connections(names: list[str], after_s: float, again: bool) -> None:
    now = 100.0
    trace = SendTrace(lambda: now)
    for name in names:
        trace.record(name, {})
    now += after_s
    lost = errors.ConnectionLostError("gone")
    assert may_resend(lost, trace, RetryPolicy()) is again


def test_the_failures_of_local_work_are_not_retried() -> None:
    script = Script()
    client = Client("http://s", transport=httpx.MockTransport(script))
    with client, pytest.raises(errors.InputError):
        client.segment("missing.png", "q")
    assert script.ids == []


@pytest.mark.parametrize("key", ["a\nb", "ключ"])
def test_a_key_no_header_can_carry_is_refused_at_once(key: str) -> None:
    with pytest.raises(errors.InputError, match="API key"):
        Client("http://s", key)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", "http://x:y"])
def test_a_wrong_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(errors.InputError, match="address"):
        Client(url)


def test_the_environment_is_the_fallback(monkeypatch: Any) -> None:
    monkeypatch.setenv("WISE_URL", "http://env:1")
    monkeypatch.setenv("WISE_API_KEY", "secret")
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    for url, key in ((None, None), ("http://arg:2", "other")):
        with Client(url, key, transport=httpx.MockTransport(handle)) as client:
            client.info()
            assert "secret" not in repr(client)
    assert [str(one.url) for one in seen] == ["http://env:1/info", "http://arg:2/info"]
    assert [one.headers["authorization"] for one in seen] == ["Bearer secret", "Bearer other"]
