"""predict-many on a local Ray cluster of two workers."""

from __future__ import annotations

import argparse
import os
import threading

import numpy as np
import pytest
from sample_many import ROOT, arguments, kill_a_writer, many, start

from mmconvnext.cli.errors import UsageError
from mmconvnext.cli.many_engines import RayEngine
from mmconvnext.inference.many import on_ray
from mmconvnext.inference.many.local import WorkersDiedError
from mmconvnext.inference.many.worker import Job

ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed")


@pytest.fixture(scope="module")
def cluster():
    """Ray with two cores; its workers find this package where this process does."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", paths)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


def test_an_address_without_a_cluster_is_one_line(models, tmp_path, capsys):
    options = ("--engine", "ray", "--address", "127.0.0.1:1")
    status = many(models, "segmentation", tmp_path, tmp_path / "out", *options)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "mmconvnext" in line]
    assert status == 2 and line.startswith("mmconvnext predict-many: --address 127.0.0.1:1: ")


@pytest.mark.slow
def test_two_actors_do_what_one_process_does(models, undisturbed, cluster, tmp_path, capsys):
    out = tmp_path / "out"
    options = ("--shard-size", 10, "--workers", None, "--engine", "ray")
    assert many(models, "segmentation", undisturbed.source, out, *options) == 1
    undisturbed.check(out)
    assert "240 pictures in" in (said := capsys.readouterr().out) and "by 2 x 1 threads" in said


@pytest.mark.slow
def test_an_actor_is_killed_and_every_picture_is_there_once(models, undisturbed, cluster, tmp_path):
    out, killed = tmp_path / "out", []
    killer = threading.Thread(target=lambda: killed.append(kill_a_writer(out)))
    killer.start()
    options = ("--shard-size", 10, "--workers", 2, "--engine", "ray")
    status = many(models, "segmentation", undisturbed.source, out, *options)
    killer.join()
    assert status == 1 and killed and killed[0] != os.getpid()
    undisturbed.check(out)


@pytest.mark.slow
def test_the_command_starts_a_cluster_of_its_own(models, undisturbed, tmp_path):
    out = tmp_path / "out"
    options = ("--shard-size", 10, "--workers", 2, "--engine", "ray")
    run = start(arguments(models, "segmentation", undisturbed.source, out, *options))
    said = run.communicate(timeout=200)[0]
    assert run.returncode == 1 and "240 pictures done, of them 1 unreadable" in said, said
    undisturbed.check(out)
    # Ray's own lines are few, whatever versions add.
    assert len([line for line in said.splitlines() if "mmconvnext" not in line]) < 8, said


@pytest.mark.parametrize(
    ("gpus", "wanted", "found"),
    [(0, "auto", "cpu"), (2, "auto", "cuda"), (2, "cuda", "cuda"), (2, "cpu", "cpu")],
)
def test_the_clusters_machines_have_the_device(monkeypatch, gpus, wanted, found):
    monkeypatch.setattr(on_ray, "resources", lambda: (8, gpus))
    engine = RayEngine(argparse.Namespace(device=wanted, workers=None))
    assert engine.device == found and engine.leaders_device == "cpu"
    assert (engine.workers, engine.threads) == ((2, 4) if found == "cuda" else (8, 1))
    for device, said in {"cuda:1": "takes auto, cpu or cuda", "cuda": "has no GPU"}.items():
        monkeypatch.setattr(on_ray, "resources", lambda: (8, 0))
        with pytest.raises(UsageError, match=said):
            RayEngine(argparse.Namespace(device=device, workers=None))


def job_in(folder) -> Job:
    return Job(folder, "none.pth", {}, 1, 1)


def test_rounds_end_when_they_finish_nothing(tmp_path, monkeypatch):
    done: set[int] = set()
    shown: list[int] = []

    def one_then_none(job, todo, workers, device, show, before) -> str:
        show(before)
        if len(done) < 3:
            done.add(todo[0])
        return "the actor died"

    monkeypatch.setattr(on_ray, "_quieten", lambda: None)
    monkeypatch.setattr(on_ray, "_round", one_then_none)
    monkeypatch.setattr(on_ray, "finished", lambda folder: set(done))
    arguments = (job_in(tmp_path), range(3), 2, "cpu", shown.append, lambda number: 10)
    assert on_ray.run_on_ray(*arguments) == 2
    assert shown == [0, 10, 20]
    arguments = (job_in(tmp_path), range(5), 2, "cpu", shown.append, lambda number: 10)
    with pytest.raises(WorkersDiedError, match=r"gave up 3 times .* of 3, 4: the actor died"):
        on_ray.run_on_ray(*arguments)


def test_an_actor_gives_a_shard_up_at_which_three_have_died(tmp_path, monkeypatch):
    class Fine:
        def __init__(self, job, device) -> None:
            self.job = job

        def __call__(self, number: int) -> None:
            return None

    monkeypatch.setattr(on_ray, "ShardWorker", Fine)
    actor = on_ray.ShardActor(job_in(tmp_path), "cpu")
    (tmp_path / "predictions").mkdir()
    for number in range(3):
        assert actor({"shard": np.array([5])})["pictures"].tolist() == [0]
        (tmp_path / "predictions" / f".part-000005.parquet.{number:032}").touch()
    with pytest.raises(WorkersDiedError, match="died 3 times at shard 5"):
        actor({"shard": np.array([5])})
    assert actor({"shard": np.array([6])})["shard"].tolist() == [6]
