"""How far a long job is: rate and time left."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_SECONDS_BETWEEN_LINES = 10.0


class Meter:
    """A bar with rate and time left; where no terminal is, a line every ten seconds.

    Args:
        label: of the job.
        unit: of what is counted, in the plural.
        console: where to draw; by default standard output.
        before: how many were done when it began, which says nothing of the rate.
    """

    def __init__(
        self, label: str, unit: str, console: Console | None = None, *, before: int = 0
    ) -> None:
        self.label, self.unit, self.before = label, unit, before
        self.console = console or Console()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task(label, total=None, completed=before)
        self._started = self._told = time.monotonic()

    def __enter__(self) -> Meter:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def show(self, done: int, total: int) -> None:
        """``done`` of ``total`` are done."""
        self._bar.update(self._task, completed=done, total=total)
        now = time.monotonic()
        if self.console.is_terminal or now - self._told < _SECONDS_BETWEEN_LINES:
            return
        self._told = now
        rate = (done - self.before) / (now - self._started)
        left = f"{(total - done) / rate:.0f} s" if rate > 0 else "unknown time"
        self.console.print(
            f"{self.label}: {done:,} of {total:,} {self.unit}, {rate:.3g} per second, {left} left",
            highlight=False,
            soft_wrap=True,
        )


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Steps per second."""
        return Text("" if task.speed is None else f"{task.speed:.3g}/s")
