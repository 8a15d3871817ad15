"""predict-many in processes that torchrun has started."""

from __future__ import annotations

import sys

import pytest
from sample_many import arguments, kill_a_writer, start

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def begin(models, source, out, *launcher: str):
    options = ("--shard-size", 10, "--workers", None)
    command = arguments(models, "segmentation", source, out, *options)
    return start(command, *TORCHRUN, *launcher, "-m", "mmconvnext")


@pytest.mark.slow
def test_two_processes_do_what_one_does(models, undisturbed, tmp_path):
    out = tmp_path / "out"
    run = begin(models, undisturbed.source, out)
    said = run.communicate(timeout=200)[0]
    assert run.returncode == 0, said  # torchrun would take a 1 for a crash
    undisturbed.check(out)
    assert said.count("240 pictures done, of them 1 unreadable") == 1 and "by 2 x" in said
    assert said.count("1 skipped, all named in") == 1


@pytest.mark.slow
def test_a_process_is_killed_and_torchrun_starts_them_again(models, undisturbed, tmp_path):
    out = tmp_path / "out"
    run = begin(models, undisturbed.source, out, "--max-restarts", "1")
    kill_a_writer(out, after=2)
    said = run.communicate(timeout=200)[0]
    assert run.returncode == 0 and "of 240 pictures were finished before" in said, said
    assert "workers restarted: 1" in said
    undisturbed.check(out)


@pytest.mark.slow
def test_bad_input_ends_all_processes(models, tmp_path):
    run = begin(models, tmp_path / "none", tmp_path / "out")
    said = run.communicate(timeout=200)[0]
    assert run.returncode != 0 and "rank 0: source" in said
    assert not (tmp_path / "out").exists()
