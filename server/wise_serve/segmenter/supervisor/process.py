"""One worker process on the gateway's side: the child, its channel, and the awaited answers."""

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence

from wise_serve.contract.errors import NotReady, Overloaded, SegmenterLost
from wise_serve.segmenter.wire import messages as protocol
from wise_serve.segmenter.wire.channel import GatewayChannel

log = logging.getLogger("wise_serve.segmenter")

_STOP_GRACE_S = 5.0
_KILL_GRACE_S = 5.0
_READ_AFTER_END_S = 0.1  # to read what the worker sent before it ended


class WorkerProcess:
    """A worker process. Create it with `spawn`.

    `call` sends a request and returns the future of its answer. The future ends with the answer,
    with SegmenterLost if the worker is lost, or is cancelled by `forget`.
    """

    def __init__(
        self,
        child: asyncio.subprocess.Process,
        connection: socket.socket,
        observe: Callable[[protocol.FromWorker], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._child = child
        self._observe = observe
        self._waiting: dict[int, asyncio.Future[protocol.FromWorker]] = {}
        self._started: asyncio.Future[None] = self._loop.create_future()
        self._lost = asyncio.Event()
        self.heard_at = self._loop.time()
        self._channel = GatewayChannel(connection, self._receive, self._lose)
        self._reaper = asyncio.create_task(self._reap())

    @classmethod
    async def spawn(
        cls,
        configuration: protocol.Configure,
        observe: Callable[[protocol.FromWorker], None],
        program: Sequence[str],
        added: Mapping[str, str],
    ) -> "WorkerProcess":
        """Start a child and configure it; `observe` sees every message that it sends.

        `program`: Python's arguments that run a worker; `--fd N` is added. `added`: variables
        for its environment, besides those of this process.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                child = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *(*program, "--fd", str(theirs.fileno())),
                    pass_fds=[theirs.fileno()],
                    stdin=asyncio.subprocess.DEVNULL,
                    env={**os.environ, **added},
                )
            except BaseException:
                ours.close()
                raise
        worker = cls(child, ours, observe)
        worker.send(configuration)
        return worker

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    @property
    def ready(self) -> bool:
        """Whether it has answered its warm-up request and is not lost."""
        return (
            self._started.done()
            and not self._started.cancelled()
            and self._started.exception() is None
            and not self._lost.is_set()
        )

    @property
    def silent_s(self) -> float:
        """Seconds since its last message."""
        return self._loop.time() - self.heard_at

    async def until_ready(self) -> None:
        """Wait for the warm-up. Raises NotReady with the worker's reason if it cannot start."""
        await asyncio.shield(self._started)

    async def until_lost(self) -> None:
        """Wait for the worker's end, without a limit: the caller must set one."""
        await self._lost.wait()

    async def died_within(self, seconds: float) -> bool:
        """Wait for the worker's end, at most `seconds`; whether it has ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._lost.wait()
        return self._lost.is_set()

    def call(
        self, number: int, message: protocol.Message, descriptor: int | None = None
    ) -> "asyncio.Future[protocol.FromWorker]":
        """Send a request; its answer has the same `number`. Closes the descriptor.

        Raises Overloaded if the worker does not read, SegmenterLost if it is lost.
        """
        future: asyncio.Future[protocol.FromWorker] = self._loop.create_future()
        self._channel.send(message, descriptor)  # may discover that the worker is lost
        if self._lost.is_set():
            raise SegmenterLost("The segmenter was lost.")
        self._waiting[number] = future
        return future

    def send(self, message: protocol.Message) -> None:
        """Send a message without an answer. Does nothing if the worker is lost."""
        self._channel.send(message)

    def forget(self, number: int) -> bool:
        """Stop waiting for this answer. Returns whether it had not come yet."""
        future = self._waiting.pop(number, None)
        return future is not None and (future.cancel() or future.cancelled())

    def kill(self) -> None:
        """End the process at once, also if it hangs."""
        with contextlib.suppress(ProcessLookupError):
            self._child.kill()

    async def end(self) -> None:
        """Ask the process to stop, and kill it if it does not; awaited answers fail.

        No child is left, unless even the kernel cannot end it, for example if a driver hangs.
        """
        with contextlib.suppress(Overloaded):  # it does not read; it is killed below
            self._channel.send(protocol.Stop())
        self._lose()
        try:
            if not await self._ended_within(_STOP_GRACE_S):
                self.kill()
                if not await self._ended_within(_KILL_GRACE_S):
                    log.error("the segmenter worker cannot be ended; it is left behind")
        finally:
            self.kill()
            self._reaper.cancel()

    async def _ended_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._child.wait()
        return self._child.returncode is not None

    async def _reap(self) -> None:
        """Notice a death also if the socket stays open because another process has a copy of it."""
        await self._child.wait()
        await asyncio.sleep(_READ_AFTER_END_S)
        self._lose()

    def _receive(self, message: protocol.FromWorker) -> None:
        self.heard_at = self._loop.time()
        match message:
            case protocol.Ready():
                self._started.set_result(None)
            case protocol.NotStarted():
                self._fail_start(message.reason)
            case protocol.Encoded():
                self._resolve(message.session, message)
            case protocol.Decoded():
                self._resolve(message.operation, message)
            case protocol.Failed():
                number = message.session if message.operation is None else message.operation
                self._resolve(number, message)
        self._observe(message)

    def _resolve(self, number: int | None, answer: protocol.FromWorker) -> None:
        future = None if number is None else self._waiting.pop(number, None)
        if future is not None and not future.done():
            future.set_result(answer)

    def _lose(self) -> None:
        self._channel.close()
        self._lost.set()
        self._fail_start("The segmenter's process ended while it was loading.")
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(SegmenterLost("The segmenter was lost."))
                future.exception()  # seen: nobody has to wait for it
        self._waiting.clear()

    def _fail_start(self, reason: str) -> None:
        if not self._started.done():
            self._started.set_exception(NotReady(reason))
            self._started.exception()
