"""predict-many whose processes are killed: every picture once, as if nothing had happened."""

from __future__ import annotations

import os
import signal
import time

import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.registry import TRANSFORMS
from sample_many import (
    arguments,
    finished_shards,
    kill_a_writer,
    many,
    start,
    write_pictures,
    writers,
)

from mmconvnext.inference.many import local

SHARDS, SIZE = 24, 10
POISON = """
custom_imports = dict(imports=["mmconvnext", "test_predict_many_killed"])
test_dataloader = dict(dataset=dict(pipeline=[
    dict(type="mmengine.LoadPoison"),
    dict(type="Resize", scale=(64, 64), keep_ratio=False),
    dict(type="PackSegInputs"),
]))
"""


@TRANSFORMS.register_module(force=True)
class LoadPoison(LoadImageFromFile):
    """Kills the process at one picture, as a decoder with a flaw would."""

    def transform(self, results: dict) -> dict | None:
        if results["img_path"].endswith("0005.jpg"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().transform(results)


def begun(models, source, out, workers: int):
    """A run that is killed or interrupted a little later."""
    options = ("--shard-size", SIZE, "--workers", workers)
    run = start(arguments(models, "segmentation", source, out, *options))
    deadline = time.monotonic() + 120
    while finished_shards(out) < 2 or not writers(out):
        assert run.poll() is None and time.monotonic() < deadline, run.communicate()[0]
        time.sleep(0.01)
    return run


@pytest.mark.slow
def test_the_command_is_killed_and_called_again(models, undisturbed, tmp_path):
    out = tmp_path / "out"
    run = begun(models, undisturbed.source, out, workers=2)
    run.kill()
    run.communicate(timeout=60)  # its workers hold the pipe: they end with it, perhaps their shard
    assert 2 <= finished_shards(out) < SHARDS
    options = ("--shard-size", SIZE)
    assert many(models, "segmentation", undisturbed.source, out, *options) == 1
    undisturbed.check(out)


@pytest.mark.slow
def test_a_worker_is_killed_and_replaced(models, undisturbed, tmp_path):
    out = tmp_path / "out"
    run = begun(models, undisturbed.source, out, workers=2)
    assert kill_a_writer(out) != run.pid
    said = run.communicate(timeout=120)[0]
    assert run.returncode == 1 and "workers restarted: 1" in said, said
    assert "1 skipped, all named in" in said and "Traceback" not in said
    undisturbed.check(out)


@pytest.mark.slow
@pytest.mark.parametrize(("sign", "workers"), [(signal.SIGINT, 2), (signal.SIGTERM, 1)])
def test_interrupted_it_keeps_what_is_finished(models, undisturbed, tmp_path, sign, workers):
    out = tmp_path / "out"
    run = begun(models, undisturbed.source, out, workers)
    at_work = set(writers(out))
    run.send_signal(sign)
    said = run.communicate(timeout=60)[0]
    assert run.returncode == 130 and "Traceback" not in said, said
    assert said.splitlines()[-1] == "mmconvnext predict-many: interrupted"
    assert 2 <= finished_shards(out) < SHARDS and not list(out.rglob(".part-*"))
    assert not any(os.path.exists(f"/proc/{pid}") for pid in at_work)  # noqa: PTH110
    if workers == 2:
        options = ("--shard-size", SIZE)
        assert many(models, "segmentation", undisturbed.source, out, *options) == 1
        undisturbed.check(out)


@pytest.mark.slow
def test_a_picture_that_kills_every_worker_ends_the_run(models, tmp_path, tiny_config):
    write_pictures(tmp_path / "pictures", 12)
    poisonous = {
        "segmentation": (str(tiny_config("segmentation", POISON)), models["segmentation"][1])
    }
    out = tmp_path / "out"
    run = start(arguments(poisonous, "segmentation", tmp_path / "pictures", out, "--workers", 2))
    said = run.communicate(timeout=200)[0]
    assert run.returncode == 1, said
    assert "workers died 3 times without finishing a shard, at work on shard" in said
    assert "1" in said.partition("at work on shard")[2].partition(";")[0]
    assert finished_shards(out) < 3


def test_only_workers_that_die_in_vain_end_the_run(tmp_path, monkeypatch):
    """The rounds by themselves: a pool that finishes a shard, then dies, four times in all."""
    done: set[int] = set()
    shown: list[int] = []

    class Dying:
        def __init__(self, job, devices, pictures, show) -> None:
            shown.append(pictures)

        def run(self, todo) -> None:
            done.add(todo[0])
            if len(todo) > 1:
                raise local.BrokenProcessPool

        def at_work(self) -> str:
            return "shard 7"

    job = type("Job", (), {"folder": tmp_path})
    monkeypatch.setattr(local, "_Pool", Dying)
    monkeypatch.setattr(local, "finished", lambda folder: set(done))
    arguments = (job, range(5), ["cpu"] * 2, lambda n: None, lambda number: 10)
    assert local.run_local(*arguments) == 4
    assert shown == [0, 10, 20, 30, 40]
    monkeypatch.setattr(local, "finished", lambda folder: set())
    with pytest.raises(local.WorkersDiedError, match=r"died 3 times .* at work on shard 7"):
        local.run_local(*arguments)
