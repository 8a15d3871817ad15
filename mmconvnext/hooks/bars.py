"""Bars and lines of figures at the bottom of a terminal."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from mmconvnext.hooks.console_log import AboveBar
from mmconvnext.hooks.signals import BeforeDeath


def can_draw(console: Console) -> bool:
    """Whether ``console`` is a terminal that can move its cursor."""
    return console.is_terminal and not console.is_dumb_terminal


class Bars:
    """One bar for each thing under way, and lines of text below them.

    Between :meth:`start` and :meth:`stop` the cursor is hidden, and what is printed or logged
    appears above the bars. SIGTERM and SIGHUP, where they would end the process at once, show the
    cursor first.

    Args:
        console: where to draw, see :func:`can_draw`.
        logger: the run's, whose lines on the console are then fewer.
    """

    def __init__(self, console: Console, logger: logging.Logger) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("eta {task.fields[eta]}"),
            console=console,
            auto_refresh=False,
        )
        self._above = AboveBar(console, logger)
        # The streams are AboveBar's business: rich's own would lock forked data workers.
        self._live = Live(
            Group(self._progress),
            console=console,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._before_death = BeforeDeath(self.stop)

    def start(self) -> None:
        """Begin to draw."""
        self._before_death.start()
        self._above.start()
        self._live.start()

    def stop(self) -> None:
        """Leave the bars as they are now and show the cursor again; a second call does nothing."""
        self._live.stop()
        self._above.stop()
        self._before_death.stop()

    def add(self, name: str, total: int, done: int = 0) -> None:
        """Draw another bar."""
        self._tasks[name] = self._progress.add_task(
            name, total=total, completed=done, note="", eta=_duration(None)
        )

    def move(self, name: str, done: int, left: float | None, note: str = "") -> None:
        """Set the bar ``name`` to ``done``, with ``left`` seconds to go."""
        task = self._tasks[name]
        self._progress.update(task, completed=done, eta=_duration(left), note=note)

    def remove(self, name: str) -> None:
        """Take the bar ``name`` away; without such a bar, nothing."""
        if name in self._tasks:
            self._progress.remove_task(self._tasks.pop(name))

    def tell(self, lines: Sequence[str]) -> None:
        """Show ``lines`` below the bars, each cut off at the terminal's width."""
        texts = [Text(line, no_wrap=True, overflow="ellipsis") for line in lines]
        self._live.update(Group(self._progress, *texts))


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-:--:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
