"""Progress, losses, rate, memory and accuracy in one place while mmengine's loops run."""

from __future__ import annotations

import atexit
import sys
import time
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from rich.console import Console

from mmconvnext.hooks import figures
from mmconvnext.hooks.bars import Bars, can_draw
from mmconvnext.hooks.pace import Pace
from mmconvnext.registry import HOOKS, register_everywhere

_OTHERS = {"val": "validation", "test": "testing"}  # mmengine's modes that have bars of their own
_FRESH = 0.5  # seconds that the figures below the bar are left as they are


@register_everywhere(HOOKS)
class ProgressBarHook(Hook):
    """Shows how far training is, the time left, losses, rate, memory and accuracy.

    On a terminal bars and figures stay at the bottom. Above them pass warnings, a line for each
    evaluation, and of mmengine's log the lines about checkpoints; its files get all of it. Testing
    and validation have bars of their own. Elsewhere (a file, a pipe) training gives a plain line
    every ``interval`` iterations and one for each evaluation, and the log is left as it is. Only
    the first process shows anything.

    Time left is counted from the iterations and validations of this session. Losses and seconds are
    means over ``interval`` iterations. Without a GPU, memory is that of the whole process. Of the
    evaluations the figures named AP, mAP, mIoU, mDice, mFscore or PQ are shown.

    Whoever catches an error of the loop calls :meth:`close` before saying it; at the program's end
    that happens by itself.

    Args:
        interval: iterations that the figures are means of, and between two plain lines.
        console: where to draw; by default standard output.
        plain: plain lines on a terminal too.

    Raises:
        ValueError: ``interval`` is below 1.
    """

    priority = "LOW"  # after the figures of this iteration have reached the message hub

    def __init__(
        self, interval: int = 10, console: Console | None = None, plain: bool = False
    ) -> None:
        if interval < 1:
            raise ValueError(f"interval: expected at least 1, found {interval}")
        self.interval = interval
        # FORCE_COLOR makes rich take a pipe for a terminal: bars in a file are of no use.
        self.console = console or Console(force_terminal=sys.stdout.isatty())
        self.plain = plain
        self._bars: Bars | None = None
        self._pace: Pace | None = None
        self._other: Pace | None = None  # of the validation or the test
        self._told = 0.0

    def before_train(self, runner: Any) -> None:
        """Start the bar where the run is."""
        if not is_main_process():
            return
        self._pace = Pace(runner.iter)
        if self._open(runner):
            self._add("training", runner.max_iters, runner.iter)
            self._tell(runner)

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Move the bar on, and every half a second the figures; or write the plain line."""
        if self._pace is None:
            return
        done, last = runner.iter + 1, runner.iter + 1 == runner.max_iters
        self._pace.step(done)
        left = self._pace.left(runner.max_iters)
        if self._bars is not None:
            self._bars.move("training", done, left, _epoch(runner, runner.epoch + 1))
            if last or time.monotonic() - self._told >= _FRESH:
                self._tell(runner)
        elif last or done % self.interval == 0:
            loss = figures.losses(runner.message_hub, self.interval).get("loss")
            self._line(
                f"iteration {done}/{runner.max_iters}",
                "" if loss is None else f"loss {loss:.3f}",
                "" if left is None else f"{left:.0f} s left",
            )

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Say what came out and take the validation's bar away."""
        if self._pace is None:
            self.close()
            return
        self._pace.go_on()
        if self._bars is not None:
            self._bars.remove(_OTHERS["val"])
            self._tell(runner)
        where = _epoch(runner, runner.epoch) or f"iteration {runner.iter}/{runner.max_iters}"
        found = [_accuracy(*item) for item in figures.accuracies(runner.message_hub).items()]
        self._line(f"evaluated at {where}: {'; '.join(found) or 'no AP or mIoU'}")

    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Leave the finished bar on the terminal."""
        self.close()

    def after_train(self, runner: Any) -> None:
        """Leave the finished bar on the terminal."""
        self.close()

    def close(self) -> None:
        """Stop drawing and give the terminal back as it was; a second call does nothing."""
        self._pace = self._other = None
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
            atexit.unregister(self.close)

    def _open(self, runner: Any) -> bool:
        """Begin to draw, if this console can show it and it has not begun yet."""
        if self._bars is None and not self.plain and can_draw(self.console):
            self._bars = Bars(self.console, runner.logger)
            self._bars.start()
            atexit.register(self.close)  # an error that nobody catches
        return self._bars is not None

    def _add(self, name: str, total: int, done: int = 0) -> None:
        assert self._bars is not None
        self._bars.add(name, total, done)

    def _before_epoch(self, runner: Any, mode: str = "train") -> None:
        """Show the bar of a validation or a test; one without training draws nothing else."""
        if mode not in _OTHERS or not is_main_process():
            return
        if self._pace is not None:
            self._pace.pause()
        if self._open(runner):
            self._other = Pace(0)
            self._add(_OTHERS[mode], len(_loader(runner, mode)))

    def _after_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
        mode: str = "train",
    ) -> None:
        """Move that bar on; training's is the business of :meth:`after_train_iter`."""
        if self._bars is None or self._other is None:
            return
        done, total = batch_idx + 1, len(_loader(runner, mode))
        self._other.step(done)
        note = "computing the figures" if done == total else ""
        self._bars.move(_OTHERS[mode], done, self._other.left(total), note)

    def _tell(self, runner: Any) -> None:
        assert self._bars is not None
        self._told = time.monotonic()
        self._bars.tell(_summary(runner.message_hub, self.interval))

    def _line(self, *parts: str) -> None:
        self.console.print(", ".join(filter(None, parts)), highlight=False, soft_wrap=True)


def _loader(runner: Any, mode: str) -> Any:
    return runner.val_dataloader if mode == "val" else runner.test_dataloader


def _epoch(runner: Any, epoch: int) -> str:
    """``epoch 3/36``; nothing for a loop that has no epochs."""
    by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
    return f"epoch {epoch}/{runner.max_epochs}" if by_epoch else ""


def _summary(hub: Any, window: int) -> list[str]:
    """The figures below the bar: losses; rate, time and memory; accuracy."""
    losses = [f"{name} {value:.4f}" for name, value in figures.losses(hub, window).items()]
    use = [f"{name} {rate:.2e}" for name, rate in figures.rates(hub).items()]
    use += [f"{name} {value:.3f} s" for name, value in figures.seconds(hub, window).items()]
    if (memory := figures.peak_memory()) is not None:
        use.append(f"memory {memory:,.0f} MB")
    found = [_accuracy(*item) for item in figures.accuracies(hub).items()]
    return [line for line in ("  ".join(losses), "  ".join(use), "; ".join(found)) if line]


def _accuracy(name: str, values: tuple[float, float]) -> str:
    newest, best = values
    return f"{name} {newest:.4g}, best {best:.4g}"
