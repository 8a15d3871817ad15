"""From a checked config to a runner."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from mmconvnext.cli.processes import rank
from mmconvnext.hooks import BadDataHook, PreemptionHook, ProgressBarHook
from mmconvnext.hooks.console_log import WorthShowing, console_handlers


def tell(line: str) -> None:
    """Print ``line`` once, however many processes there are."""
    if line and rank() == 0:
        print(f"mmconvnext: {line}", flush=True)


class BrieflyLoggingRunner(Runner):
    """mmengine's runner on a terminal that a progress bar is for: from its first line on, most of
    the log goes to the log's file only."""

    def build_logger(self, *args: Any, **settings: Any) -> MMLogger:
        """Build the logger and sift what it puts on the console."""
        logger = super().build_logger(*args, **settings)
        for handler in console_handlers(logger):
            handler.addFilter(WorthShowing())
        return logger


def build_runner(cfg: Config, plain: bool = True) -> Runner:
    """Build the runner that ``cfg`` describes. From here on the work directory is written to.

    Without ``plain``, on a terminal, the console gets a bar instead of most of the log.
    """
    keep_earlier_config(cfg)
    brief = not plain and sys.stdout.isatty() and rank() == 0
    if "runner_type" in cfg:
        from mmengine.registry import RUNNERS

        runner: Runner = RUNNERS.build(cfg)
    else:
        runner = (BrieflyLoggingRunner if brief else Runner).from_cfg(cfg)
    if brief and not _bars(runner):
        runner.register_hook(ProgressBarHook())
    for hook in _bars(runner):
        hook.plain = hook.plain or plain
    for hook in runner.hooks:
        if isinstance(hook, BadDataHook):
            hook.watch(runner)
    if brief:
        tell(f"log: {runner.logger.log_file}")
    return runner


@contextmanager
def leaving_terminal_sane(runner: Runner) -> Iterator[None]:
    """Whatever ends what is inside, the bar is stopped before anyone speaks of it, and signals do
    again what they did."""
    try:
        yield
    finally:
        for hook in runner.hooks:
            if isinstance(hook, (PreemptionHook, ProgressBarHook)):
                hook.close()


def _bars(runner: Runner) -> list[ProgressBarHook]:
    return [hook for hook in runner.hooks if isinstance(hook, ProgressBarHook)]


def keep_earlier_config(cfg: Config) -> None:
    """Copy the config of an earlier run in the work directory aside if the new run's, of the same
    name, differs. One process of several does it: the first."""
    target = Path(cfg.work_dir) / Path(cfg.filename).name
    if rank() > 0 or not target.is_file() or target.read_text(encoding="utf-8") == cfg.pretty_text:
        return
    stamp = time.strftime("%Y%m%d_%H%M%S", time.localtime(target.stat().st_mtime))
    shutil.copy2(target, target.with_name(f"{target.stem}_{stamp}{target.suffix}"))
