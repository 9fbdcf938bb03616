"""The progress bar of a batch: rate, tokens per request, time left."""

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from wise_client.parts import Usage

_LINE_EVERY_S = 30.0


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
        """Count one pair that an earlier run answered."""
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
    """A rich bar on standard error; where that is no terminal, a line each half minute."""

    def __init__(
        self, pace: Pace, shown: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pace = pace
        self._console = Console(stderr=True)
        self._bar = Progress(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=self._console,
            disable=not shown,
        )
        self._task = self._bar.add_task(str(pace), total=pace.total)
        self._clock = clock
        self._line_due_s = clock() + _LINE_EVERY_S

    def update(self) -> None:
        """Show what the pace is now."""
        pace = self._pace
        self._bar.update(self._task, completed=pace.done, total=pace.total, description=str(pace))
        if not self._console.is_terminal and self._clock() >= self._line_due_s:
            self._line_due_s = self._clock() + _LINE_EVERY_S
            if not self._bar.disable:
                self._console.print(f"{pace.done} of {pace.total or 'an unknown number'}: {pace}")

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
