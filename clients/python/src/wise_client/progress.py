"""The progress bar of a batch: rate, tokens per request, time left."""

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from wise_client.parts import Usage


class Pace:
    """Counts of a run. What was answered in an earlier run is done, but is not this run's pace."""

    def __init__(self, total: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        self.done = 0
        self.failed = 0
        self._answered = 0
        self._completion_tokens = 0
        self._thinking_tokens = 0
        self._clock = clock
        self._start_s = clock()

    def resumed(self) -> None:
        self.done += 1

    def answered(self, usage: Usage | None) -> None:
        """One pair more; `usage` is None for a failure."""
        self.done += 1
        if usage is None:
            self.failed += 1
            return
        self._answered += 1
        self._completion_tokens += usage.completion_tokens
        self._thinking_tokens += usage.thinking_tokens

    def __str__(self) -> str:
        elapsed_s = self._clock() - self._start_s
        finished = self._answered + self.failed
        if not finished or elapsed_s <= 0:
            return "waiting for the first answer"
        rate = finished / elapsed_s
        parts = [f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"]
        if self._answered:
            tokens = self._completion_tokens / self._answered
            thinking = self._thinking_tokens / self._answered
            parts.append(f"{tokens:.1f} tokens/request ({thinking:.1f} thinking)")
        if self.total is not None:
            parts.append(f"{_clock_text((self.total - self.done) / rate)} left")
        if self.failed:
            parts.append(f"{self.failed} failed")
        return ", ".join(parts)


class ProgressBar:
    """A rich bar on standard error; silent where that is not a terminal, but for its last state."""

    def __init__(self, pace: Pace, shown: bool) -> None:
        self._pace = pace
        self._bar = Progress(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
            disable=not shown,
        )
        self._task = self._bar.add_task(str(pace), total=pace.total)

    def update(self) -> None:
        self._bar.update(self._task, completed=self._pace.done, description=str(self._pace))

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()


def _clock_text(seconds: float) -> str:
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
