from __future__ import annotations

import io
import logging
import os
import re
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
        train_loop=None,
        epoch=0,
        val_dataloader=range(3),
        test_dataloader=range(4),
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


def evaluate(hook: ProgressBarHook, runner: SimpleNamespace, **metrics: float) -> None:
    """What mmengine's loop calls, RuntimeInfoHook's part included."""
    hook.before_val_epoch(runner)
    for batch in range(3):
        hook.after_val_iter(runner, batch)
    for name, value in metrics.items():
        runner.message_hub.update_scalar(f"val/{name}", value)
    hook.after_val_epoch(runner, metrics)


def lines_of(hook: ProgressBarHook) -> list[str]:
    """What was drawn, line by line, without control characters."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", hook.console.file.getvalue()).splitlines()


def test_on_a_terminal_it_draws_count_loss_and_eta_and_gives_the_cursor_back(runner):
    hook = ProgressBarHook(interval=3, console=console(terminal=True))
    train(hook, runner)
    hook.after_train(runner)
    drawn = hook.console.file.getvalue()
    assert "training" in drawn and "6/6" in drawn and "loss 5.0000" in drawn
    assert "eta 0:00:00" in drawn
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")


def test_the_figures_stand_below_the_bar(runner, monkeypatch):
    monkeypatch.setattr("mmconvnext.hooks.figures.peak_memory", lambda: 2048.4)
    hook = ProgressBarHook(interval=2, console=console(terminal=True))
    hub = runner.message_hub
    for value in (1.0, 3.0, 5.0):
        hub.update_scalar("train/loss_cls", value)
    for name, value in dict(acc=99.0, lr=1e-5, base_lr=2e-4, time=0.5, data_time=0.25).items():
        hub.update_scalar(f"train/{name}", value)
    train(hook, runner)
    evaluate(hook, runner, **{"coco/bbox_mAP": 0.5, "coco/bbox_mAP_50": 0.9})
    evaluate(hook, runner, **{"coco/bbox_mAP": 0.4, "coco/bbox_mAP_50": 0.8})
    hook.after_train(runner)
    assert [line.rstrip() for line in lines_of(hook)[-3:]] == [
        "loss 5.5000  loss_cls 4.0000",
        "base_lr 2.00e-04  time 0.500 s  data_time 0.250 s  memory 2,048 MB",
        "coco/bbox_mAP 0.4, best 0.5",
    ]
    assert "training" in lines_of(hook)[-4]


def test_lines_wider_than_the_terminal_are_cut_not_wrapped(runner):
    hook = ProgressBarHook(console=console(terminal=True))
    for number in range(30):
        runner.message_hub.update_scalar(f"train/loss_of_head_{number}", 1.0)
    train(hook, runner)
    hook.after_train(runner)
    assert lines_of(hook)[-2].endswith("…") and len(lines_of(hook)[-2]) == 120


def test_a_resumed_run_starts_where_it_was_and_knows_its_accuracy(runner):
    hook = ProgressBarHook(console=console(terminal=True))
    runner.iter = 4
    for value in (31.0, float("nan"), 30.0):
        runner.message_hub.update_scalar("val/mIoU", value)
    hook.before_train(runner)
    hook.after_train(runner)
    drawn = hook.console.file.getvalue()
    assert "4/6" in drawn and "mIoU 30, best 31" in drawn


def test_validation_has_a_bar_while_it_lasts_and_leaves_a_line(runner):
    hook = ProgressBarHook(console=console(terminal=True))
    train(hook, runner, iterations=2)
    hook.before_val_epoch(runner)
    hook.after_val_iter(runner, 1)
    hook._bars._live.refresh()
    runner.message_hub.update_scalar("val/mIoU", 12.5)
    hook.after_val_epoch(runner)
    hook.after_train(runner)
    drawn = hook.console.file.getvalue()
    assert "validation" in drawn and "2/3" in drawn
    last_frame = drawn[drawn.rindex("training") :]
    assert "validation" not in last_frame
    assert lines_of(hook).count("evaluated at iteration 1/6: mIoU 12.5, best 12.5") == 1


def test_an_evaluation_is_a_plain_line_too(runner):
    hook = ProgressBarHook(console=console(terminal=False))
    train(hook, runner, iterations=3)
    evaluate(hook, runner, accuracy=0.5)
    evaluate(hook, runner, **{"lvis/bbox_AP": 0.25, "lvis/bbox_APr": 0.1})
    evaluate(hook, runner, **{"accuracy/top1": 76.0, "accuracy/top5": 93.0})
    assert lines_of(hook)[:2] == [
        "evaluated at iteration 2/6: no AP or mIoU",
        "evaluated at iteration 2/6: lvis/bbox_AP 0.25, best 0.25",
    ]
    assert "accuracy/top1 76, best 76" in lines_of(hook)[2] and "top5" not in lines_of(hook)[2]


@pytest.mark.parametrize("loop", ["val", "test"])
def test_a_loop_of_its_own_has_a_bar_of_its_own(runner, loop):
    hook = ProgressBarHook(console=console(terminal=True))
    getattr(hook, f"before_{loop}_epoch")(runner)
    for batch in range({"val": 3, "test": 4}[loop]):
        getattr(hook, f"after_{loop}_iter")(runner, batch)
    getattr(hook, f"after_{loop}_epoch")(runner, {})
    drawn = hook.console.file.getvalue()
    assert {"val": "3/3", "test": "4/4"}[loop] in drawn and "computing the figures" in drawn
    assert {"val": "validation", "test": "testing"}[loop] in drawn
    assert "evaluated" not in drawn and "training" not in drawn
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")


@pytest.mark.parametrize("loop", ["val", "test"])
def test_without_a_terminal_these_loops_write_nothing(runner, loop):
    hook = ProgressBarHook(console=console(terminal=False))
    getattr(hook, f"before_{loop}_epoch")(runner)
    getattr(hook, f"after_{loop}_iter")(runner, 0)
    getattr(hook, f"after_{loop}_epoch")(runner, {})
    assert hook.console.file.getvalue() == ""


def log(level: int, text: str, module: str) -> logging.LogRecord:
    return logging.LogRecord("x", level, f"/mmengine/hooks/{module}.py", 1, text, None, None)


def test_of_the_log_warnings_and_checkpoints_pass_above_the_bar_its_file_gets_all(runner, tmp_path):
    handler = logging.StreamHandler(sys.stdout)
    file = logging.FileHandler(tmp_path / "run.log")
    runner.logger.handlers += [handler, file]
    own = handler.stream
    said = [
        log(logging.INFO, "Iter(train) [1/6]", "logger_hook"),
        log(logging.INFO, "Saving checkpoint at 1 iterations", "checkpoint_hook"),
        log(logging.WARNING, "masks are empty", "transforms"),
    ]
    hook = ProgressBarHook(console=console(terminal=True))
    hook.before_train(runner)
    for record in said:
        runner.logger.handle(record)
    print("printed by somebody")
    hook.after_train(runner)
    shown = lines_of(hook)
    assert [shown.count(record.msg) for record in said] == [0, 1, 1]
    assert shown.count("printed by somebody") == 1
    assert (tmp_path / "run.log").read_text().splitlines() == [record.msg for record in said]
    assert handler.stream is own and sys.stdout is own and not handler.filters


def test_plain_lines_leave_the_log_as_it_is(runner, capsys):
    runner.logger.handlers.append(logging.StreamHandler(sys.stdout))
    hook = ProgressBarHook(interval=6, console=console(terminal=True), plain=True)
    hook.before_train(runner)
    runner.logger.handle(log(logging.INFO, "Iter(train) [1/6]", "logger_hook"))
    train(hook, runner)
    hook.after_train(runner)
    assert capsys.readouterr().out == "Iter(train) [1/6]\n"
    (line,) = lines_of(hook)
    assert line.startswith("iteration 6/6, loss 3.500")


def test_a_forked_data_worker_writes_past_the_bar(runner, capfd):
    hook = ProgressBarHook(console=console(terminal=True))
    hook.before_train(runner)
    hook.console._lock.acquire()  # as the drawing thread may have it when the worker is forked
    if (child := os.fork()) == 0:
        print("from the worker", file=sys.stderr, flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    hook.console._lock.release()
    hook.after_train(runner)
    assert "from the worker" in capfd.readouterr().err
    assert "from the worker" not in hook.console.file.getvalue()


def test_closing_twice_or_without_a_run_is_harmless(runner):
    hook = ProgressBarHook(console=console(terminal=True))
    hook.close()
    hook.before_train(runner)
    hook.close()
    drawn = hook.console.file.getvalue()
    hook.close()
    assert hook.console.file.getvalue() == drawn


@pytest.mark.parametrize("name", ["TERM", "FORCE_COLOR"])
def test_nothing_is_drawn_where_no_cursor_moves(runner, monkeypatch, name):
    """On a dumb terminal, and in a pipe that is forced to have colours."""
    monkeypatch.setenv(name, {"TERM": "dumb", "FORCE_COLOR": "1"}[name])
    own = console(terminal=True) if name == "TERM" else None
    hook = ProgressBarHook(console=own)
    hook.before_train(runner)
    assert hook._bars is None


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
