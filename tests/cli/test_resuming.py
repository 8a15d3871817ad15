"""``train --resume`` in work directories as runs leave them."""

from __future__ import annotations

import errno
import os
import signal

import pytest
import torch
from mmengine.config import Config
from mmengine.fileio.backends import LocalBackend
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS

from mmconvnext.checkpoints.whole_files import finish, point_to, unfinished, verify
from mmconvnext.cli import resuming
from mmconvnext.cli.errors import UsageError
from mmconvnext.cli.lasting import make_lasting
from mmconvnext.cli.main import main

EACH = "default_hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1))"


@pytest.fixture
def train(shapes, tiny_config, tmp_path, capsys):
    """Runs a training in tmp_path/work; returns its status, and what it said, of the errors
    the lines."""

    def run(*options: str, extra: str = EACH) -> tuple[int, str]:
        where = ["--data-root", str(shapes["segmentation"]), "--work-dir", str(tmp_path / "work")]
        status = main(["train", str(tiny_config("segmentation", extra)), *where, *options])
        out, err = capsys.readouterr()
        return status, err.strip() if status else out

    return run


def test_the_newest_whole_one_is_taken_with_a_line_for_the_damaged(train, tmp_path, capsys):
    work = tmp_path / "work"
    status, out = train("--max-iters", "2", "--resume")
    assert status == 0
    assert f"mmconvnext: nothing to resume from in {work}: starting from the beginning" in out
    (work / "iter_2.pth").write_bytes((work / "iter_2.pth").read_bytes()[:-1000])
    status, line = train("--max-iters", "3", "--resume", str(work / "iter_2.pth"))
    assert status == 2 and "\n" not in line
    assert f"checkpoint {work / 'iter_2.pth'}: damaged or cut off" in line
    assert line.endswith(f"; the newest that is whole there: {work / 'iter_1.pth'}")
    status, out = train("--max-iters", "3", "--resume")
    assert status == 0
    assert f"checkpoint {work / 'iter_2.pth'}: damaged or cut off: expected SHA-256" in out
    assert "; taking iter_1.pth instead\n" in out
    assert "resumed epoch: 0, iter: 1" in out
    for number in (1, 2, 3):
        verify(work / f"iter_{number}.pth")


def test_where_none_is_whole_nothing_is_begun_anew(train, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    for number in (1, 2):
        (work / f"iter_{number}.pth").write_bytes(b"")
    status, line = train("--resume")
    assert status == 2 and "\n" not in line
    assert f"(of 2 in {work} none is whole); to start from the beginning remove them" in line
    assert sorted(file.name for file in work.iterdir()) == ["iter_1.pth", "iter_2.pth"]


@pytest.mark.parametrize("config", [dict(resume=True), dict(resume=True, load_from=None)])
def test_a_config_that_resumes_is_resumed_alike(config, tmp_path):
    torch.save({}, unfinished(tmp_path / "iter_1.pth"))
    finish(tmp_path / "iter_1.pth")
    cfg = Config({"work_dir": str(tmp_path), **config})
    resuming.settle_resuming(cfg, None)
    assert (cfg.resume, cfg.load_from) == (True, str(tmp_path / "iter_1.pth"))


def test_who_does_not_resume_is_left_alone(tmp_path):
    point_to(tmp_path, "/gone/iter_1.pth")
    cfg = Config({"work_dir": str(tmp_path), "load_from": "weights.pth", "resume": False})
    resuming.settle_resuming(cfg, None)
    assert (cfg.resume, cfg.load_from) == (False, "weights.pth")


def test_the_first_start_of_a_run_that_resumes_begins_with_its_weights(tmp_path):
    cfg = Config({"work_dir": str(tmp_path / "new"), "load_from": "weights.pth"})
    resuming.settle_resuming(cfg, "auto")
    assert (cfg.resume, cfg.load_from) == (False, "weights.pth")


def test_an_address_is_left_to_mmengine(tmp_path):
    cfg = Config({"work_dir": str(tmp_path)})
    resuming.settle_resuming(cfg, "s3://bucket/iter_1.pth")
    assert (cfg.resume, cfg.load_from) == (True, "s3://bucket/iter_1.pth")


def test_all_processes_need_the_same_checkpoint(tmp_path, monkeypatch):
    cfg = Config({"work_dir": str(tmp_path), "resume": True, "load_from": "mine.pth"})
    resuming.check_agreement(cfg)
    monkeypatch.setattr(resuming, "broadcast_object_list", lambda found: found.__setitem__(0, None))
    with pytest.raises(
        UsageError, match=r"resuming from mine\.pth, but the first process from None"
    ):
        resuming.check_agreement(cfg)


def test_a_last_checkpoint_that_cannot_be_written_is_a_failure(train, tmp_path, monkeypatch):
    def fail(self, obj, filepath):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LocalBackend, "put", fail)
    status, line = train("--max-iters", "1")
    assert status == 1
    assert "training is done, but its last checkpoint could not be written" in line
    assert not list((tmp_path / "work").glob("*.pth"))


class TermAtTwo(Hook):
    def before_train_iter(self, runner, **_) -> None:
        if runner.iter == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_ends_it_with_status_75_and_resumed_it_ends_as_if_never(
    train, tmp_path, monkeypatch
):
    monkeypatch.setitem(HOOKS.module_dict, "TermAtTwo", TermAtTwo)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    work, options = tmp_path / "work", ("--max-iters", "3", "--seed", "0")
    try:
        status, err = train(*options, extra="custom_hooks = [dict(type='TermAtTwo')]")
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
    assert status == 75 and "mmconvnext train:" not in err
    assert [file.name for file in work.glob("*.pth")] == ["iter_2.pth"]
    ends = []
    for _ in range(2):
        status, said = train(*options, "--resume", extra="")
        assert status == 0, said
        ends.append(torch.load(work / "iter_3.pth", weights_only=False)["state_dict"])
        for file in work.glob("*.pth*"):  # the second time from the beginning
            file.unlink()
        (work / "last_checkpoint").unlink()
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[1])


@pytest.mark.parametrize("kind", ["CheckpointHook", "mmengine.CheckpointHook", CheckpointHook])
def test_mmengines_hook_is_replaced_with_its_settings(kind):
    hook = dict(type=kind, interval=7, max_keep_ckpts=2)
    hooks = dict(checkpoint=hook, timer=dict(type="IterTimerHook"))
    cfg = Config(dict(default_hooks=hooks, train_cfg={}))
    make_lasting(cfg)
    assert cfg.default_hooks.to_dict() == dict(
        checkpoint={**hook, "type": "mmconvnext.WholeCheckpointHook"},
        timer=dict(type="IterTimerHook"),
    )


def test_without_any_it_is_mmengines_default():
    cfg = Config(dict(default_hooks=None, train_cfg={}))
    make_lasting(cfg)
    assert cfg.default_hooks.checkpoint == dict(type="mmconvnext.WholeCheckpointHook", interval=1)


@pytest.mark.parametrize("hook", [None, dict(type="MyCheckpointHook")])
def test_ones_own_hook_or_none_stays(hook):
    cfg = Config(dict(default_hooks=dict(checkpoint=hook), train_cfg={}))
    make_lasting(cfg)
    assert cfg.default_hooks.checkpoint == hook


@pytest.mark.parametrize(
    ("restarts", "shared", "told"),
    [("2", "True", True), ("2", "False", False), ("0", "True", False), (None, None, False)],
)
def test_of_restarts_that_hang_it_is_warned(restarts, shared, told, monkeypatch):
    for name, value in (("MAX_RESTARTS", restarts), ("USE_AGENT_STORE", shared)):
        name = f"TORCHELASTIC_{name}"
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert ("TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1" in resuming.restarts_that_hang()) == told
