"""Calls to replicas: Ray's errors become ours, calls that gave no result yet are repeated, and
pixels are sent once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from ray.exceptions import ObjectStoreFullError, RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException

import ray
from wise_serve.contract.errors import NotReady, Overloaded, Unavailable, WiseError

ATTEMPTS: Final = 4
_PAUSES_S: Final = (0.05, 0.5, 1.5)  # pause before the second attempt and each later one
_INLINE_BYTES: Final = 2**20  # larger arrays are copied in a thread


def as_ours(error: Exception, lost: type[Unavailable]) -> Exception:
    """The error of our tree that says what Ray's error means. lost: the class for a replica that is
    gone.

    Any other error is a defect in the code, and is returned unchanged.
    """
    if isinstance(error, RayTaskError):  # raised in the replica; its text holds the whole trace
        cause = error.cause
        return cause if isinstance(cause, WiseError) else error
    if isinstance(error, BackPressureError):
        return Overloaded("All replicas are busy and many requests wait.", retry_after_s=1.0)
    if isinstance(error, RayServeException) and not isinstance(error, RayError):
        return NotReady("No replica of this model can be reached now.", retry_after_s=5.0)
    if isinstance(error, RayError):
        return lost("The replica that worked on this request was lost.", 1.0)
    return error


async def ask(
    method: Any, *args: object, lost: type[Unavailable], digest: str | None = None
) -> Any:
    """The answer to a call of a replica's method. If the replica is lost or not ready, the call is
    repeated, on another replica if there is one. The caller's deadline bounds all attempts.

    method: of a DeploymentHandle. Raises WiseError; when cancelled, the call is cancelled as well.
    """
    for attempt in range(ATTEMPTS):
        named = {} if digest is None else {"digest": digest, "attempt": attempt}
        response = method.remote(*args, **named)
        try:
            return await response
        except Exception as error:
            failure = as_ours(error, lost)
            if not may_repeat(failure, attempt):
                raise failure from None
        finally:
            cancel(response)
        await pause(attempt)
    raise AssertionError("unreachable: the last attempt returns or raises")


def may_repeat(failure: Exception, attempt: int) -> bool:
    """Whether to repeat a call that failed in this way before it gave any result."""
    return isinstance(failure, Unavailable) and attempt + 1 < ATTEMPTS


def cancel(call: Any) -> None:
    """Cancel a call or a stream that nobody waits for any more; one that has ended stays as it is.

    Ray's `cancel` raises the error of a call that no replica has accepted. Whoever waited for the
    call has this error already."""
    with suppress(Exception):
        call.cancel()


async def pause(attempt: int) -> None:
    """Wait before the next attempt."""
    await asyncio.sleep(_PAUSES_S[attempt])


@dataclass(slots=True)
class _Held:
    putting: "asyncio.Future[Any]"
    users: int = 0


class SharedPixels:
    """Arrays in Ray's object store. Each is stored once, for as long as any request uses it."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}

    @asynccontextmanager
    async def put(self, digest: str, pixels: NDArray[np.uint8]) -> AsyncIterator[Any]:
        """A reference to the array that `digest` names. An array that another request has stored is
        not stored again. Raises Overloaded if the object store is full."""
        if digest not in self._held:
            self._held[digest] = _Held(asyncio.ensure_future(_put(pixels)))
        held = self._held[digest]
        held.users += 1
        try:
            yield await asyncio.shield(held.putting)
        finally:
            held.users -= 1
            if not held.users:
                del self._held[digest]


async def _put(pixels: NDArray[np.uint8]) -> Any:
    try:
        if pixels.nbytes <= _INLINE_BYTES:
            return ray.put(pixels)
        return await asyncio.to_thread(ray.put, pixels)
    except ObjectStoreFullError:
        raise Overloaded("The cluster's memory for images is full.", retry_after_s=2.0) from None
