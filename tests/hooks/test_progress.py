from __future__ import annotations

import io
import logging
import sys
from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub
from mmengine.registry import HOOKS
from rich.console import Console

import mmconvnext
from mmconvnext.hooks import ProgressBarHook, progress


@pytest.fixture
def runner():
    return SimpleNamespace(
        iter=0,
        max_iters=6,
        val_dataloader=range(3),
        message_hub=MessageHub("progress test"),
        logger=logging.Logger("progress test"),
    )


def console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=120)


def train(hook: ProgressBarHook, runner: SimpleNamespace, iterations: int = 6) -> None:
    """What mmengine's loop calls: the loss is 1, 2, 3, …"""
    hook.before_train(runner)
    for runner.iter in range(iterations):
        runner.message_hub.update_scalar("train/loss", float(runner.iter + 1))
        hook.after_train_iter(runner, runner.iter)


def test_without_a_terminal_it_writes_a_plain_line_an_interval(runner):
    hook = ProgressBarHook(interval=2, console=console(terminal=False))
    train(hook, runner)
    hook.after_train(runner)
    lines = hook.console.file.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines] == [f"iteration {n}/6" for n in (2, 4, 6)]
    assert [line.split(", ")[1] for line in lines] == ["loss 1.500", "loss 3.500", "loss 5.500"]
    assert lines[-1].endswith("0 s left")
    assert "\x1b" not in hook.console.file.getvalue()


def test_the_last_iteration_gets_its_line_even_within_an_interval(runner):
    hook = ProgressBarHook(interval=4, console=console(terminal=False))
    train(hook, runner)
    lines = hook.console.file.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines] == ["iteration 4/6", "iteration 6/6"]
    assert "loss 4.500" in lines[-1]  # of iterations 3 to 6


def test_on_a_terminal_it_draws_count_loss_and_eta_and_gives_the_cursor_back(runner):
    hook = ProgressBarHook(interval=3, console=console(terminal=True))
    train(hook, runner)
    hook.after_train(runner)
    drawn = hook.console.file.getvalue()
    assert "training" in drawn and "6/6" in drawn and "loss 5.000" in drawn
    assert "eta" in drawn and "0:00:00" in drawn
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")


def test_a_resumed_run_starts_where_it_was(runner):
    hook = ProgressBarHook(console=console(terminal=True))
    runner.iter = 4
    hook.before_train(runner)
    hook.after_train(runner)
    assert "4/6" in hook.console.file.getvalue()


def test_validation_has_a_bar_while_it_lasts(runner):
    hook = ProgressBarHook(console=console(terminal=True))
    train(hook, runner, iterations=2)
    hook.before_val_epoch(runner)
    hook.after_val_iter(runner, 1)
    hook._progress.refresh()
    hook.after_val_epoch(runner)
    assert [task.description for task in hook._progress.tasks] == ["training"]
    hook.after_train(runner)
    assert "validation" in hook.console.file.getvalue() and "2/3" in hook.console.file.getvalue()


def test_validation_without_training_shows_nothing(runner):
    hook = ProgressBarHook(console=console(terminal=True))
    hook.before_val_epoch(runner)
    hook.after_val_iter(runner, 0)
    hook.after_val_epoch(runner)
    assert hook.console.file.getvalue() == ""


def test_log_lines_pass_above_the_bar_and_go_straight_out_afterwards(runner):
    handler = logging.StreamHandler(sys.stdout)
    elsewhere = logging.StreamHandler(io.StringIO())
    runner.logger.handlers += [handler, elsewhere]
    own, other = handler.stream, elsewhere.stream
    hook = ProgressBarHook(console=console(terminal=True))
    hook.before_train(runner)
    assert elsewhere.stream is other
    runner.logger.warning("a line of the log")
    hook.after_train(runner)
    assert "a line of the log" in hook.console.file.getvalue()
    assert "a line of the log" in other.getvalue()
    assert handler.stream is own


def test_only_the_first_process_shows_anything(runner, monkeypatch):
    monkeypatch.setattr(progress, "is_main_process", lambda: False)
    hook = ProgressBarHook(interval=1, console=console(terminal=False))
    train(hook, runner)
    hook.after_train(runner)
    assert hook.console.file.getvalue() == ""


@pytest.mark.parametrize("name", ["ProgressBarHook", "mmconvnext.ProgressBarHook"])
def test_configs_find_it_by_both_names(name):
    assert mmconvnext.__version__
    assert isinstance(HOOKS.build(dict(type=name, interval=5)), ProgressBarHook)


def test_an_interval_below_one_is_refused():
    with pytest.raises(ValueError, match="interval: expected at least 1, found 0"):
        ProgressBarHook(interval=0)
