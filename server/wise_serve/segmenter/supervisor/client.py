"""The gateway's side of one segmenter worker: starts it, watches it, sends it requests.

Everything runs on one event loop. The worker is a child process. When it dies, all requests in
flight fail at once with SegmenterLost, and another worker is started.
"""

import asyncio
import contextlib
import itertools
import logging
import os
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import numpy as np
from numpy.typing import NDArray

from wise_serve import processes
from wise_serve.contract.errors import NotReady, WiseError
from wise_serve.device import batches_of, cache_bytes_of, device_of, precision_of
from wise_serve.segmenter import ImageSession
from wise_serve.segmenter.supervisor.observer import SegmenterObserver, Silent
from wise_serve.segmenter.supervisor.process import WorkerProcess
from wise_serve.segmenter.supervisor.session import Session
from wise_serve.segmenter.wire import messages as protocol
from wise_serve.settings import Settings

log = logging.getLogger("wise_serve.segmenter")

WORKER = ("-m", "wise_serve.segmenter.worker.main")
MAX_DEATHS = 3
DEATHS_WINDOW_S = 60.0
BEATS_PER_LIMIT = 4  # heartbeats that a worker sends in `heartbeat_s`
SILENT_LIMITS = 5  # a worker silent for this many `heartbeat_s` is ended
RESPAWN_PAUSE_S = 1.0  # before another try, when the system could not start a process
INLINE_COPY_BYTES = 2**20  # larger images are copied in a thread


class SegmenterClient:
    """`Segmenter` on a supervised worker process.

    `failed` becomes true, and stays true, when the worker has died three times within a minute: the
    server should then end. A start that the system refuses counts as a death. `restarts` counts
    the starts after the first.
    """

    def __init__(
        self,
        settings: Settings,
        observer: SegmenterObserver | None = None,
        program: Sequence[str] = WORKER,
        device: str | None = None,
    ) -> None:
        """`program`: Python's arguments that run a worker.

        `device`: torch's name, such as 'cuda:1'; default: that of the settings.
        """
        self.name = settings.segmenter
        self.failed = False
        self.restarts = 0
        self._settings = settings
        self._program = program
        self._device = device or device_of(settings)
        self._observer = observer or Silent()
        self._numbers = itertools.count(1)
        self._worker: WorkerProcess | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._observer.watch(lambda: self.alive)

    @property
    def alive(self) -> bool:
        """Whether a request sent now could be answered."""
        worker = self._worker
        return worker is not None and worker.ready and worker.silent_s < self._settings.heartbeat_s

    @property
    def pid(self) -> int | None:
        """The worker's process id, while there is one."""
        return None if self._worker is None else self._worker.pid

    async def start(self) -> None:
        """Start the worker and wait for its warm-up answer. Raises NotReady if that fails."""
        worker = await self._spawn()
        try:
            await self._until_ready(worker)
        except BaseException:
            await self._end(worker)
            raise
        self._supervisor = asyncio.create_task(self._supervise(worker))

    async def stop(self) -> None:
        """End the worker; requests in flight fail with SegmenterLost."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
            self._supervisor = None
        if self._worker is not None:
            await self._end(self._worker)

    def open(
        self, pixels: NDArray[np.uint8], digest: str, request_id: str
    ) -> AbstractAsyncContextManager[ImageSession]:
        """See `Segmenter.open`. Entering raises NotReady while there is no live worker."""
        return self._open(pixels.shape[:2], digest, request_id, pixels)

    def reopen(
        self, size: tuple[int, int], digest: str, request_id: str
    ) -> AbstractAsyncContextManager[ImageSession]:
        """See `Segmenter.reopen`. Entering raises NotReady while there is no live worker."""
        return self._open(size, digest, request_id, None)

    @asynccontextmanager
    async def _open(
        self,
        size: tuple[int, ...],
        digest: str,
        request_id: str,
        pixels: NDArray[np.uint8] | None,
    ) -> AsyncIterator[ImageSession]:
        worker = self._worker
        if worker is None or not self.alive:
            raise NotReady("The segmenter is not ready.")
        descriptor = None if pixels is None else await _share(pixels)
        session = Session(worker, self._numbers, request_id)
        try:
            if descriptor is None:
                session.reopen(size[0], size[1], digest)
            else:
                session.open(size[0], size[1], digest, descriptor)
            yield session
        finally:
            session.close()

    async def _spawn(self) -> WorkerProcess:
        batches = batches_of(self._settings)
        self._worker = await WorkerProcess.spawn(
            protocol.Configure(
                segmenter=self._settings.segmenter,
                segmenter_config=self._settings.segmenter_config,
                device=self._device,
                threads=self._settings.segmenter_threads,
                precision=precision_of(self._settings, self._device),
                tf32=self._settings.segmenter_precision == "auto",
                compile=self._settings.segmenter_compile,
                encode_batch_size=batches.images,
                decode_batch_size=batches.prompts,
                batch_wait_ms=self._settings.batch_wait_ms,
                max_queue=self._settings.max_segmenter_queue,
                cache_bytes=cache_bytes_of(self._settings, device=self._device),
                heartbeat_every_s=self._settings.heartbeat_s / BEATS_PER_LIMIT,
                log_level=self._settings.log_level,
            ),
            self._observe,
            self._program,
            processes.model_environment(self._settings, os.environ),
        )
        return self._worker

    def _observe(self, message: protocol.FromWorker) -> None:
        match message:
            case protocol.BatchDone():
                self._observer.batch(message.operation, message.size)
                self._observer.queue_depth(message.queue_depth)
            case protocol.Heartbeat():
                self._observer.queue_depth(message.queue_depth)
            case protocol.Encoded():
                self._observer.cache(message.cache)

    async def _until_ready(self, worker: WorkerProcess) -> None:
        try:
            async with asyncio.timeout(self._settings.startup_deadline_s):
                await worker.until_ready()
        except TimeoutError:
            raise NotReady("The segmenter did not load within the start-up deadline.") from None

    async def _supervise(self, worker: WorkerProcess) -> None:
        """Keep a worker running, until it has died too often; then `failed` is true."""
        try:
            await self._keep_running(worker)
        except Exception:  # a supervisor that ends in silence would leave the server without one
            log.exception("the segmenter worker cannot be started again: giving up")
        self.failed = True

    async def _keep_running(self, worker: WorkerProcess | None) -> None:
        """Whenever the worker dies, start another one; return after three deaths in a minute."""
        clock = asyncio.get_running_loop().time
        deaths: deque[float] = deque()
        while True:
            if worker is not None:
                await self._watch(worker)
                await self._end(worker)
            deaths.append(clock())
            while deaths[0] < clock() - DEATHS_WINDOW_S:
                deaths.popleft()
            if len(deaths) >= MAX_DEATHS:
                log.error("the segmenter worker died %d times in a minute: giving up", len(deaths))
                return
            self.restarts += 1
            self._observer.restart()
            log.warning("the segmenter worker died; starting another one")
            worker = await self._respawn()

    async def _respawn(self) -> WorkerProcess | None:
        """Start another worker and wait for it. None, after a pause, if the system refuses one."""
        try:
            worker = await self._spawn()
        except OSError:
            log.exception("no process could be started for the segmenter worker")
            await asyncio.sleep(RESPAWN_PAUSE_S)
            return None
        with contextlib.suppress(WiseError):  # `_watch` then returns at once
            await self._until_ready(worker)
        return worker

    async def _watch(self, worker: WorkerProcess) -> None:
        """Return when the worker is dead, is not ready, or has been silent for too long."""
        tick_s = self._settings.heartbeat_s / BEATS_PER_LIMIT
        silent_ticks, heard_at = 0, worker.heard_at
        while worker.ready and not await worker.died_within(tick_s):
            # Ticks, not seconds: a stalled event loop must not look like a stalled worker.
            silent_ticks = silent_ticks + 1 if worker.heard_at == heard_at else 0
            heard_at = worker.heard_at
            if silent_ticks > BEATS_PER_LIMIT * SILENT_LIMITS:
                log.error("the segmenter worker hangs; it is ended")
                worker.kill()
                return

    async def _end(self, worker: WorkerProcess) -> None:
        if self._worker is worker:
            self._worker = None
        await worker.end()


async def _share(pixels: NDArray[np.uint8]) -> int:
    """Copy the pixels to a new memory file; closes its descriptor here if it is cancelled."""
    if pixels.nbytes <= INLINE_COPY_BYTES:
        return protocol.share_pixels(pixels)
    copy = asyncio.get_running_loop().run_in_executor(None, protocol.share_pixels, pixels)
    try:
        return await asyncio.shield(copy)
    except asyncio.CancelledError:
        copy.add_done_callback(_close_result)
        raise


def _close_result(copy: "asyncio.Future[int]") -> None:
    if not copy.cancelled() and copy.exception() is None:
        os.close(copy.result())
