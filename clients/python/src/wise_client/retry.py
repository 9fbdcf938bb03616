"""When a request is sent again, and after how long.

A request is sent again only when that cannot make the server do the same work twice at once:

| what happened                                              | again? | because                   |
|------------------------------------------------------------|--------|---------------------------|
| connection refused, name not found, connect timeout        | yes    | nothing was sent          |
| connection lost or write timeout before the body was whole | yes    | the server starts no      |
|                                                            |        | request it has in part    |
| 429, 503                                                   | yes    | the server says that it   |
|                                                            |        | does not work on it       |
| 502, 504                                                   | yes    | likewise; see below       |
| a reused connection lost within 1 s of the last body byte, | yes    | the server closed it as   |
| before any answer                                          |        | idle while we wrote       |
| any other loss after the whole body was sent               | no     | it may be worked on       |
| read timeout                                               | no     | it may be worked on       |
| pool timeout                                               | no     | waiting more is no cure   |
| a stream that broke after it began                         | no     | it was being worked on    |
| 404 `image_unknown`, to the digest of a known image        | once   | with the image itself     |
| every other status                                         | no     | it would fail again       |

502 and 504 are the documented exception: a proxy may send them while the server behind it has not
yet noticed that its caller is gone. It notices at its next step and stops, so the work overlaps
for moments at most. Where even that is too much: `RetryPolicy(statuses=frozenset({429, 503}))`.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wise_client import errors

_IDLE_CLOSE_S = 1.0  # a server's idle close reaches us within a round trip, not seconds later


@dataclass(frozen=True)
class RetryPolicy:
    """`max_retries` times after the first; 0 turns retries off.

    Waits are jittered: uniform from 0 to `base_s` * 2**retry, at most `cap_s`. The server's
    `Retry-After` is waited in full, and the jitter after it; one beyond `longest_wait_s` is not
    waited for, and the error raised at once.
    """

    max_retries: int = 4
    base_s: float = 0.5
    cap_s: float = 8.0
    longest_wait_s: float = 60.0
    statuses: frozenset[int] = frozenset({429, 502, 503, 504})
    random: Callable[[], float] = random.random

    def wait_s(self, retry: int, retry_after_s: float | None) -> float | None:
        """Seconds before retry number `retry` (0 is the first), or None for no more."""
        after_s = retry_after_s or 0.0
        if retry >= self.max_retries or after_s > self.longest_wait_s:
            return None
        return after_s + self.random() * min(self.cap_s, self.base_s * 2.0**retry)


class SendTrace:
    """How far one attempt came, by httpcore's trace events (the request extension `trace`)."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._connected = False
        self._broken = False
        self._body_sent_s: float | None = None
        self._answered = False

    def record(self, name: str, info: dict[str, Any]) -> None:
        """The trace callback of a synchronous request."""
        part, _, phase = name.rpartition(".")
        if ".connect_" in part:
            self._connected = True
        elif part.endswith((".send_request_headers", ".send_request_body")) and phase == "failed":
            self._broken = True
        elif part.endswith(".send_request_body") and phase == "complete":
            self._body_sent_s = self._clock()
        elif part.endswith(".receive_response_headers") and phase == "complete":
            self._answered = True

    async def arecord(self, name: str, info: dict[str, Any]) -> None:
        """The trace callback of an asynchronous request."""
        self.record(name, info)

    @property
    def harmless(self) -> bool:
        """True where this attempt, having failed, left no work at the server. See the table."""
        if self._answered:
            return False
        if self._broken:
            return True
        if self._connected or self._body_sent_s is None:
            return False
        return self._clock() - self._body_sent_s < _IDLE_CLOSE_S


def may_resend(error: errors.WiseClientError, trace: SendTrace, policy: RetryPolicy) -> bool:
    """The table above."""
    if isinstance(error, errors.APIError):
        return error.status in policy.statuses
    if isinstance(error, errors.ConnectFailedError):
        return True
    if isinstance(error, errors.TimedOutError):
        return error.phase in ("connect", "write")
    return isinstance(error, errors.ConnectionLostError) and trace.harmless
