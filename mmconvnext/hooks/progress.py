"""A progress bar with time left and loss, for training on a terminal."""

from __future__ import annotations

import atexit
import logging
import sys
from collections.abc import Sequence
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mmconvnext.registry import HOOKS, register_everywhere


@register_everywhere(HOOKS)
class ProgressBarHook(Hook):
    """Shows how far training is, its loss and the time left; a second bar during validation.

    On a terminal one line stays at the bottom and log lines scroll above it. Elsewhere (a file, a
    pipe) a plain line is written every ``interval`` iterations. Only the first process shows
    anything.

    Args:
        interval: iterations between two refreshes of the loss, and between two plain lines.
        console: where to draw; by default standard output.

    Raises:
        ValueError: ``interval`` is below 1.
    """

    priority = "LOW"  # after the loss of this iteration has reached the message hub

    def __init__(self, interval: int = 10, console: Console | None = None) -> None:
        if interval < 1:
            raise ValueError(f"interval: expected at least 1, found {interval}")
        self.interval = interval
        self.console = console or Console()
        self._progress: Progress | None = None
        self._training = TaskID(0)
        self._validation: TaskID | None = None
        self._redirected: list[tuple[logging.StreamHandler, Any]] = []

    def before_train(self, runner: Any) -> None:
        """Start the bar."""
        if not is_main_process():
            return
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[loss]}"),
            console=self.console,
            disable=not self.console.is_terminal,
            # A GPU does hundreds of iterations a minute, a CPU a few: half a minute suits both.
            speed_estimate_period=30.0,
        )
        self._training = self._progress.add_task(
            "training", total=runner.max_iters, completed=runner.iter, loss=""
        )
        before = sys.stdout, sys.stderr
        self._progress.start()
        atexit.register(self._stop)  # an error leaves the terminal as it was
        self._redirect(runner.logger, before)

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Move the bar on; every ``interval`` iterations with the mean loss of the last ones."""
        if self._progress is None:
            return
        done = runner.iter + 1
        self._progress.update(self._training, completed=done)
        if done % self.interval and done != runner.max_iters:
            return
        loss = runner.message_hub.get_scalar("train/loss").mean(self.interval)
        self._progress.update(self._training, loss=f"loss {loss:.3f}")
        if not self.console.is_terminal:
            self._plain_line(done, runner.max_iters, loss)

    def before_val_epoch(self, runner: Any) -> None:
        """Show the bar of the validation."""
        if self._progress is not None:
            total = len(runner.val_dataloader)
            self._validation = self._progress.add_task("validation", total=total, loss="")

    def after_val_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[Any] | None = None,
    ) -> None:
        """Move the validation's bar on."""
        if self._progress is not None and self._validation is not None:
            self._progress.update(self._validation, completed=batch_idx + 1)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Take the validation's bar away."""
        if self._progress is not None and self._validation is not None:
            self._progress.remove_task(self._validation)
            self._validation = None

    def after_train(self, runner: Any) -> None:
        """Leave the finished bar on the terminal."""
        self._stop()

    def _plain_line(self, done: int, total: int, loss: float) -> None:
        assert self._progress is not None
        task = self._progress.tasks[0]
        left = "" if task.time_remaining is None else f", {task.time_remaining:.0f} s left"
        self.console.print(f"iteration {done}/{total}, loss {loss:.3f}{left}", highlight=False)

    def _redirect(self, logger: logging.Logger, before: tuple[Any, Any]) -> None:
        """Let log lines pass above the bar: the handlers hold the streams ``before`` it."""
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream in before:
                self._redirected.append((handler, handler.stream))
                handler.setStream((sys.stdout, sys.stderr)[before.index(handler.stream)])

    def _stop(self) -> None:
        for handler, stream in self._redirected:
            handler.setStream(stream)
        self._redirected.clear()
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
        atexit.unregister(self._stop)
