"""predict-many in one process: what it writes, and how it goes on."""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np
import pytest
from sample_many import finished_shards, jpeg, keys, many, rows, write_parquet, write_pictures

from mmconvnext.cli import many_engines
from mmconvnext.cli.errors import UsageError
from mmconvnext.inference.many import local, worker


@pytest.fixture
def pictures(tmp_path):
    return write_pictures(tmp_path / "pictures", 10)


@pytest.fixture
def stopping(monkeypatch):
    """Has the next run interrupted at the second picture of a shard."""

    def at(number: int) -> None:
        predict = worker.predict_shard

        def interrupted(predictor, plan, shard, folder, *, progress, **options):
            def stop(done: int) -> None:
                progress(done)
                if shard.number == number and done == 2:
                    monkeypatch.setattr(worker, "predict_shard", predict)
                    raise KeyboardInterrupt

            return predict(predictor, plan, shard, folder, progress=stop, **options)

        monkeypatch.setattr(worker, "predict_shard", interrupted)

    return at


def test_a_folder_becomes_tables_and_a_summary(models, task, pictures, tmp_path, capsys):
    out = tmp_path / "out"
    assert many(models, task, tmp_path / "pictures", out) == 0
    assert keys(out) == list(pictures) and finished_shards(out) == 3
    assert not (out / "errors").exists()
    said = capsys.readouterr().out
    assert "classes, as the config's data set names them" in said
    assert "10 pictures done, of them 0 unreadable" in said and "per second, by 1 x" in said
    assert "milliseconds a picture, by stage" in said
    summary = json.loads((out / "summary.json").read_text())
    assert summary["this_run"]["workers"] == 1 and summary["this_run"]["pictures"] == 10


def test_interrupted_it_goes_on_with_what_is_not_finished(
    models, pictures, tmp_path, stopping, capsys
):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert many(models, "segmentation", tmp_path / "pictures", whole) == 0
    stopping(1)
    assert many(models, "segmentation", tmp_path / "pictures", out) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "mmconvnext predict-many: interrupted"
    assert finished_shards(out) == 1 and not list(out.rglob(".part*"))
    kept = (out / "predictions" / "part-000000.parquet").stat().st_mtime_ns
    stopping(2)
    assert many(models, "segmentation", tmp_path / "pictures", out) == 130
    assert many(models, "segmentation", tmp_path / "pictures", out) == 0
    said = capsys.readouterr().out
    assert "8 of 10 pictures were finished before" in said and "2 pictures in " in said
    assert (out / "predictions" / "part-000000.parquet").stat().st_mtime_ns == kept
    assert rows(out) == rows(whole)
    assert many(models, "segmentation", tmp_path / "pictures", out) == 0  # nothing is left to do
    said = capsys.readouterr().out
    assert "10 of 10 pictures were finished before" in said and "per second" not in said


def test_a_plan_that_was_not_finished_is_begun_anew(models, pictures, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "pictures.jsonl").write_text('"of an earlier ')
    (out / f".plan.json.{'0' * 32}").touch()
    assert many(models, "segmentation", tmp_path / "pictures", out) == 0
    assert keys(out) == list(pictures) and not list(out.glob(".plan*"))


def test_unreadable_pictures_are_named_and_the_rest_is_done(models, tmp_path, capsys):
    contents = [jpeg(0), b"none", None, jpeg(1)]
    path = write_parquet(tmp_path / "a.parquet", {"id": list("wxyz"), "picture": contents})
    out = tmp_path / "out"
    assert many(models, "segmentation", path, out) == 1
    captured = capsys.readouterr()
    assert "4 pictures done, of them 2 unreadable" in captured.out
    x, y, last = captured.err.splitlines()[-3:]
    assert x.startswith("mmconvnext predict-many: skipped 'x': picture of 4 bytes cannot be read")
    assert y == "mmconvnext predict-many: skipped 'y': the row has no picture"
    assert last == f"mmconvnext predict-many: 2 skipped, all named in {out / 'errors'}"
    assert keys(out) == ["w", "z"] and keys(out, "errors") == ["x", "y"]
    assert many(models, "segmentation", path, out) == 1  # as often as one looks


def test_results_beside_the_pictures_are_no_source(models, tmp_path):
    write_pictures(tmp_path, 4)
    (tmp_path / "tables").mkdir()
    write_parquet(tmp_path / "tables" / "a.parquet", {"path": ["../a/0000.jpg"]})
    out = tmp_path / "tables" / "out"
    for _ in range(2):
        assert many(models, "segmentation", tmp_path / "tables", out) == 0
    assert keys(out) == ["../a/0000.jpg"]


def test_the_threshold_holds_and_overwriting_begins_anew(models, pictures, tmp_path):
    out = tmp_path / "out"
    command = (models, "detection", tmp_path / "pictures" / "a", out)
    assert many(*command) == 0
    scores = [row["scores"] for row in rows(out)]
    middle = float(np.median(np.concatenate(scores)))
    assert many(*command, "--score-threshold", middle, "--overwrite", "--shard-size", 2) == 0
    kept = [row["scores"] for row in rows(out)]
    assert kept == [[s for s in each if s >= middle] for each in scores]
    assert finished_shards(out) == 3 and 0 < sum(map(len, kept)) < sum(map(len, scores))


def test_cores_are_shared_among_workers(monkeypatch):
    monkeypatch.setattr(local, "cores", lambda: 16)

    def shared(**options) -> tuple[int, int]:
        args = argparse.Namespace(device="cpu", **{"workers": None, **options})
        engine = many_engines.Engine(args)
        return engine.workers, engine.threads

    assert shared(workers=3) == (3, 5) and shared(workers=99) == (99, 1)
    workers, threads = shared()
    assert workers * threads == 16


@pytest.mark.parametrize(
    ("module", "options", "said"),
    [
        ("pyarrow", [], "pyarrow is not installed; it comes with the extra (pip install"),
        ("ray", ["--engine", "ray"], "ray is not installed; it comes with the extra"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    models, pictures, tmp_path, monkeypatch, capsys, module, options, said
):
    monkeypatch.setitem(sys.modules, module, None)
    assert many(models, "segmentation", tmp_path / "pictures", tmp_path / "out", *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line and f"mmconvnext[{'many' if module == 'pyarrow' else 'ray'}]" in line
    assert not (tmp_path / "out").exists()


def test_engines_are_chosen_and_refused(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)

    def engine(**options) -> many_engines.Engine:
        given = {"engine": None, "address": None, "workers": 2, "device": "cpu", **options}
        with many_engines.pick_engine(argparse.Namespace(**given)) as picked:
            return picked

    assert type(engine()) is many_engines.Engine
    with pytest.raises(UsageError, match="torchrun has not started this"):
        engine(engine="torchrun")
    with pytest.raises(UsageError, match="--address is of a Ray cluster"):
        engine(address="auto")
