"""The bar as a user sees it: on a pty, in a pipe, and when something ends the run early."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from sample_terminal import Forks, on_terminal

from mmconvnext.cli import running
from mmconvnext.cli.errors import STOPPED
from mmconvnext.cli.main import main
from mmconvnext.hooks import ProgressBarHook

SHOW, HIDE = "\x1b[?25h", "\x1b[?25l"


def plain(drawn: str) -> list[str]:
    """Lines without control characters."""
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn).split("\r\n")]


def options(config: Path, data: Path) -> list[str]:
    return [str(config), "--data-root", str(data), "--work-dir", "work", "--device", "cpu"]


@pytest.fixture
def arguments(tiny_config, shapes):
    return options(tiny_config("segmentation"), shapes["segmentation"])


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    forks = Forks()
    yield forks
    forks.close()


def test_train_and_test_draw_and_the_log_file_keeps_what_the_console_does_not(
    arguments, forks, tmp_path
):
    status, drawn = on_terminal(["train", *arguments, "--max-iters", "3", "--seed", "0"], tmp_path)
    lines = plain(drawn)
    assert status == 0, lines[-5:]
    assert "training" in drawn and "3/3" in drawn
    assert re.search(r"loss \d+\.\d{4}  decode\.loss_ce \d+\.\d{4}  aux\.loss_ce", drawn)
    assert re.search(r"lr \d\.\d\de-0\d  time \d+\.\d{3} s  data_time .* memory [\d,]+ MB", drawn)
    assert drawn.count("evaluated at iteration 3/3: mIoU") == 1
    assert drawn.count("Saving checkpoint at 3 iterations") == 1
    assert drawn.rindex(SHOW) > drawn.rindex(HIDE)
    assert lines[-2].startswith("mmconvnext: done:")
    (log,) = (tmp_path / "work").rglob("*.log")
    assert f"mmconvnext: log: {log.resolve()}".replace(" ", "") in "".join(lines).replace(" ", "")
    command = f"Command line: mmconvnext train {arguments[0]} "
    for only_there in ("Iter(train) [3/3]", "System environment:", "Iter(val)", command):
        assert only_there in log.read_text() and only_there not in drawn

    status, drawn = forks.on_terminal(
        ["test", *arguments[:1], "work/iter_3.pth", *arguments[1:]], tmp_path
    )
    assert status == 0 and "testing" in drawn and "4/4" in drawn
    assert "Iter(test)" not in drawn and re.search(r"│ mIoU", drawn)
    assert drawn.rindex(SHOW) > drawn.rindex(HIDE)


def test_plain_gives_the_whole_log_on_a_terminal_too(arguments, forks, tmp_path):
    command = ["train", *arguments, "--max-iters", "1", "--plain"]
    status, drawn = forks.on_terminal(command, tmp_path)
    assert status == 0
    assert "Iter(train) [1/1]" in drawn and HIDE not in drawn and "training" not in plain(drawn)


def interrupted(forks: Forks, arguments: list[str], folder: Path, number: int) -> tuple[int, str]:
    """Train until the bar is there, then send the signal ``number``; status and drawing."""
    sent = []

    def interrupt(drawn: str, pid: int) -> None:
        if not sent and re.search(r"\b[1-9]\d*/100000", drawn):
            sent.append(True)
            os.kill(pid, number)

    return forks.on_terminal(["train", *arguments, "--max-iters", "100000"], folder, interrupt)


def test_ctrl_c_stops_the_bar_before_anything_is_said(arguments, forks, tmp_path):
    status, drawn = interrupted(forks, arguments, tmp_path, signal.SIGINT)
    assert status == 130 and plain(drawn)[-2] == "mmconvnext train: interrupted"
    assert drawn.rindex(HIDE) < drawn.rindex(SHOW) < drawn.rindex("interrupted")


@pytest.mark.parametrize(
    ("number", "expected"), [(signal.SIGTERM, STOPPED), (signal.SIGHUP, -signal.SIGHUP)]
)
def test_killed_it_gives_the_cursor_back_and_is_dead_all_the_same(
    number, expected, arguments, forks, tmp_path
):
    status, drawn = interrupted(forks, arguments, tmp_path, number)
    assert status == expected
    assert drawn.rindex(SHOW) > drawn.rindex(HIDE)


def test_in_a_pipe_the_log_is_as_ever(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *arguments, "--max-iters", "1"]) == 0
    said = capsys.readouterr().out
    assert "Iter(train) [1/1]" in said and "Saving checkpoint" in said and "\x1b[?25" not in said


BY_EPOCH = """
train_cfg = dict(
    _delete_=True, type="EpochBasedTrainLoop", max_epochs={epochs}, val_interval=1
)
train_dataloader = dict(sampler=dict(_delete_=True, type="DefaultSampler", shuffle=False))
param_scheduler = []
optim_wrapper = dict(accumulative_counts=2)
default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=1))
custom_hooks = [dict(type="mmconvnext.ProgressBarHook", interval=1, plain=True)]
"""


def test_epochs_accumulated_gradients_and_a_resumed_run_are_counted_right(
    tiny_config, shapes, tmp_path, monkeypatch, capsys
):
    """Two epochs of two batches, then a third of a second session."""
    monkeypatch.chdir(tmp_path)

    def train(epochs: int, *more: str) -> list[str]:
        config = tiny_config("segmentation", BY_EPOCH.format(epochs=epochs))
        assert main(["train", *options(config, shapes["segmentation"]), *more]) == 0
        said = capsys.readouterr().out.splitlines()
        return [line.split(",")[0] for line in said if line.startswith(("iteration", "evaluated"))]

    first = train(2)
    assert [line.partition(":")[0] for line in first] == [
        *("iteration 1/4", "iteration 2/4", "evaluated at epoch 1/2"),
        *("iteration 3/4", "iteration 4/4", "evaluated at epoch 2/2"),
    ]
    resumed = train(3, "--resume")
    assert [line.partition(":")[0] for line in resumed] == [
        "evaluated at epoch 2/3",  # the checkpoint was written before that
        *("iteration 5/6", "iteration 6/6", "evaluated at epoch 3/3"),
    ]


def test_an_error_of_the_loop_leaves_the_terminal_as_it_was(tmp_path):
    closed = []

    class Hook(ProgressBarHook):
        def close(self) -> None:
            closed.append(True)

    class Run:
        hooks = (Hook(),)

    with pytest.raises(OSError, match="disk"), running.leaving_terminal_sane(Run()):
        raise OSError("disk")
    assert closed == [True]
