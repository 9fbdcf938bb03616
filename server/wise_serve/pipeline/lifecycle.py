"""Starts both models while the server already answers its probes, and stops them."""

import asyncio
import logging
from collections.abc import Callable

from pydantic import ValidationError

from wise_serve.contract.errors import Draining, NotReady, Unavailable, WiseError
from wise_serve.downloads import Downloads
from wise_serve.observe import logs
from wise_serve.pipeline.admission import Admission
from wise_serve.reasoner import Reasoner
from wise_serve.segmenter import Segmenter

_STOP_DEADLINE_S = 20.0
_WATCH_EVERY_S = 0.5


class Lifecycle:
    """Whether the server loads, is ready or drains, and why it is not ready.

    `on_ready` is called once, when both models have answered a warm-up request. `on_failed` is
    called when one could not be started or is lost for good: then the process should end.

    `segmenter_first`: both models share a GPU. The segmenter then takes its memory before vLLM
    measures what is left; otherwise they load in parallel (docs/decisions/0023).

    `downloads` come first, and are not part of the start-up deadline.
    """

    def __init__(
        self,
        reasoner: Reasoner,
        segmenter: Segmenter,
        admission: Admission,
        startup_deadline_s: float,
        segmenter_first: bool = False,
        downloads: Downloads | None = None,
    ) -> None:
        self.on_ready: Callable[[], None] = lambda: None
        self.on_failed: Callable[[], None] = lambda: None
        self.failure = ""  # why the models could not be started, for whoever started the server
        self._reasoner = reasoner
        self._segmenter = segmenter
        self._admission = admission
        self._startup_deadline_s = startup_deadline_s
        self._segmenter_first = segmenter_first
        self._downloads = downloads or Downloads([])
        self._loading: asyncio.Task[None] | None = None
        self._loaded = False

    def start(self) -> None:
        """Begin to load; returns at once."""
        self._loading = asyncio.create_task(self._load())

    async def stop(self) -> None:
        """End the loading if it still runs, then both models, each within a deadline."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        self._loaded = False
        parts = (self._reasoner.stop(), self._segmenter.stop())
        stops = [asyncio.wait_for(part, _STOP_DEADLINE_S) for part in parts]
        for failure in await asyncio.gather(*stops, return_exceptions=True):
            if isinstance(failure, BaseException):
                logs.event(logging.ERROR, "a model did not stop", {}, exc_info=failure)

    @property
    def ready(self) -> bool:
        """Whether `check_ready` would let a request in."""
        try:
            self.check_ready()
        except Unavailable:
            return False
        return True

    def check_ready(self) -> None:
        """Raises Draining or NotReady; says which part is missing."""
        if self._admission.draining:
            raise Draining("The server is shutting down.")
        if progress := self._downloads.progress:
            raise NotReady(f"The models are {progress}.", retry_after_s=30.0)
        if not self._loaded:
            raise NotReady("The models are still loading.", retry_after_s=5.0)
        if not self._reasoner.alive:
            raise NotReady("The reasoning engine does not answer.", retry_after_s=5.0)
        if not self._segmenter.alive:
            raise NotReady("The segmenter does not answer.", retry_after_s=5.0)

    async def _load(self) -> None:
        try:
            await self._downloads.run()
            async with asyncio.timeout(self._startup_deadline_s), asyncio.TaskGroup() as group:
                if self._segmenter_first:
                    await self._segmenter.start()
                else:
                    group.create_task(self._segmenter.start())
                group.create_task(self._reasoner.start())
        except Exception as error:  # any error: the server cannot serve
            self.failure = _reason(error, self._startup_deadline_s)
            fields = {"reason": self.failure}
            logs.event(logging.CRITICAL, "the models could not be started", fields, exc_info=error)
            self.on_failed()
            return
        self._loaded = True
        logs.event(logging.INFO, "ready", {})
        self.on_ready()
        await self._watch()

    async def _watch(self) -> None:
        """Wait until a model is lost for good.

        It is not restarted here: an engine that died may have left the device in any state, so a
        supervisor should restart the process.
        """
        while self._reasoner.alive and not self._segmenter.failed:
            await asyncio.sleep(_WATCH_EVERY_S)
        lost = "segmenter" if self._segmenter.failed else "reasoner"
        logs.event(logging.CRITICAL, "a model is lost", {"model": lost})
        self.on_failed()


def _reason(error: Exception, deadline_s: float) -> str:
    """The texts of the server's own errors, and of an engine's option that does not fit.

    Other texts of libraries may quote a request: those errors are in the log, without their text.
    """
    if isinstance(error, TimeoutError):
        return f"The models did not load within {deadline_s:g} s: raise --startup-deadline-s."
    if isinstance(error, ExceptionGroup):
        said = [_reason(inner, deadline_s) for inner in error.exceptions]
        return " ".join(dict.fromkeys(said))
    if isinstance(error, WiseError):
        return str(error)
    if isinstance(error, ValidationError):  # vLLM's configuration, which no request is part of
        said = [" ".join(one["msg"].split()) for one in error.errors(include_input=False)]
        return f"The engine's options do not fit the checkpoint: {' '.join(said)}"
    return f"The models could not be started ({type(error).__name__}); the log above says where."
