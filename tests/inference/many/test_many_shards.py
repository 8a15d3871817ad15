"""A shard's tables: what Predictor finds, each picture once, whole or not at all."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet
from pycocotools import mask as coder
from sample_many import jpeg, keys, rows, write_parquet, write_pictures, write_tar

import mmconvnext
from mmconvnext.data.checks import DataError
from mmconvnext.inference.many.output import (
    STAGES,
    abandoned,
    clear,
    finished,
    is_free,
    reports,
    summarize,
    sweep,
    unreadable,
)
from mmconvnext.inference.many.plan import Plan, begin, divide
from mmconvnext.inference.many.sources import find_source
from mmconvnext.inference.many.worker import facts_of, predict_shard
from mmconvnext.inference.predictions import Segmentation
from mmconvnext.inference.results import counts_of


@pytest.fixture(scope="module")
def predictors(models) -> dict[str, mmconvnext.Predictor]:
    return {
        task: mmconvnext.Predictor(*files, device="cpu", score_threshold=0.0)
        for task, files in models.items()
    }


def planned(predictor, source: Path | str, out: Path, size: int = 4) -> Plan:
    settings = {"checkpoint": "mine"}
    return begin(out, divide(find_source(str(source)), size), facts_of(predictor), settings, "")


def predict_all(predictor, plan: Plan, out: Path, **options: Any) -> None:
    for number in range(len(plan)):
        predict_shard(predictor, plan, plan.shard(number), out, **options)


def as_row(found, facts) -> dict[str, Any]:
    """What a table has of ``found``, written down anew."""
    if isinstance(found, Segmentation):
        return {"classes": (found.classes + facts.zero_is_ignored).tolist()}
    return {
        "boxes": found.boxes.tolist(),
        "scores": found.scores.tolist(),
        "labels": found.labels.tolist(),
        "masks": [counts_of(rle) for rle in found.rles],
    }


def decoded(row: dict[str, Any]) -> dict[str, Any]:
    if "classes" not in row:
        return row
    with Image.open(io.BytesIO(row["classes"])) as image:
        assert image.format == "PNG"
        return {**row, "classes": np.asarray(image).tolist()}


def test_results_are_those_of_single_calls(predictors, task, tmp_path):
    predictor, written = predictors[task], write_pictures(tmp_path / "pictures", 6)
    plan = planned(predictor, tmp_path / "pictures", tmp_path / "out")
    # Together in the network, objects are the same but for rounding.
    predict_all(predictor, plan, tmp_path / "out", batch_size=1 if task == "detection" else 3)
    found = [decoded(row) for row in rows(tmp_path / "out")]
    assert [row["key"] for row in found] == list(written)
    for number, row in enumerate(found):
        expected = as_row(predictor(tmp_path / "pictures" / row["key"]), plan.facts)
        place = {"key": row["key"], "file": "", "row": number, "width": 64, "height": 48}
        assert row == {**place, **expected}
        for counts in row.get("masks", [])[:1]:
            mask = coder.decode({"size": [row["height"], row["width"]], "counts": counts})
            assert mask.shape == (48, 64)
    table = parquet.ParquetFile(tmp_path / "out" / "predictions" / "part-000001.parquet")
    about = json.loads(table.metadata.metadata[b"mmconvnext"])
    assert about["classes"] == list(predictor.legend.classes) and about["task"] == task
    assert about["settings"] == {"checkpoint": "mine"}
    assert about["version"] == mmconvnext.__version__


def test_bytes_in_parquet_files_and_tars_give_what_files_give(predictors, task, tmp_path):
    predictor, written = predictors[task], write_pictures(tmp_path / "pictures", 3)
    turned = Image.Exif()
    turned[0x0112] = 6
    written["b/turned.jpg"] = jpeg(9, exif=turned)
    written["b/broken.jpg"] = written["a/0000.jpg"][:800]
    for name in ("b/turned.jpg", "b/broken.jpg"):
        (tmp_path / "pictures" / name).write_bytes(written[name])
    written = dict(sorted(written.items()))
    structs = [{"bytes": content, "path": name} for name, content in written.items()]
    write_parquet(tmp_path / "a.parquet", {"image": structs})
    write_tar(tmp_path / "a.tar", written)
    tables = {}
    for source in ("pictures", "a.parquet", "a.tar"):
        out = tmp_path / f"out of {source}"
        predict_all(predictor, planned(predictor, tmp_path / source, out), out)
        assert keys(out, "errors") == ["b/broken.jpg"]
        assert "truncated" in rows(out, "errors")[0]["error"]
        tables[source] = [{**row, "file": ""} for row in rows(out)]
    assert tables["pictures"] == tables["a.parquet"] == tables["a.tar"]
    assert len(tables["pictures"]) == 4
    sizes = {row["key"]: (row["width"], row["height"]) for row in tables["pictures"]}
    assert sizes["b/turned.jpg"] == (48, 64)


def test_what_cannot_be_predicted_is_in_the_table_of_errors(predictors, tmp_path):
    predictor, folder, out = predictors["segmentation"], tmp_path / "pictures", tmp_path / "out"
    written = write_pictures(folder, 7)
    (folder / "a" / "0001.jpg").write_bytes(b"")
    (folder / "a" / "0002.jpg").write_bytes(jpeg(0)[:900])
    Image.new("RGB", (64, 8)).save(folder / "b" / "0006.jpg")  # too small for the network
    plan = planned(predictor, folder, out)
    (folder / "b" / "0005.jpg").unlink()
    predict_all(predictor, plan, out, batch_size=3)
    found = {row["key"]: row["error"] for row in rows(out, "errors")}
    bad = ["a/0001.jpg", "a/0002.jpg", "b/0005.jpg", "b/0006.jpg"]
    assert list(found) == bad and keys(out) == [name for name in written if name not in bad]
    assert "the file is empty" in found["a/0001.jpg"] and "the network fails" in found["b/0006.jpg"]
    assert [row["row"] for row in rows(out, "errors")] == [1, 2, 5, 6]
    assert [(r.shard, r.pictures, r.errors) for r in reports(out)] == [(0, 4, 2), (1, 3, 2)]
    assert unreadable(out, 3) == list(found.items())[:3]
    summary = summarize(out, {"pictures": 7})
    assert (summary["shards"], summary["pictures"], summary["errors"]) == (2, 7, 4)
    spent = summary["milliseconds_per_picture"]
    assert set(spent) == {*STAGES, "wall"} and all(value > 0 for value in spent.values())
    assert json.loads((out / "summary.json").read_text()) == summary


class Stop(BaseException):
    pass


def test_a_shard_is_there_whole_or_not_at_all(predictors, tmp_path):
    predictor, folder, out = predictors["segmentation"], tmp_path / "pictures", tmp_path / "out"
    write_pictures(folder, 4)
    whole = (folder / "a" / "0001.jpg").read_bytes()
    (folder / "a" / "0001.jpg").write_bytes(b"")
    plan = planned(predictor, folder, out)

    def stop(done: int) -> None:
        if done == 3:
            raise Stop

    with pytest.raises(Stop):
        predict_shard(predictor, plan, plan.shard(0), out, progress=stop)
    assert finished(out) == set() and not (out / "predictions").exists()
    predict_all(predictor, plan, out)
    assert finished(out) == {0} and keys(out, "errors") == ["a/0001.jpg"]
    # Killed between the two tables: the picture, good meanwhile, is in one of them only.
    (out / "predictions" / "part-000000.parquet").unlink()
    (folder / "a" / "0001.jpg").write_bytes(whole)
    predict_all(predictor, plan, out)
    assert len(keys(out)) == 4 and not list((out / "errors").iterdir())


def test_pictures_that_are_all_gone_are_no_unreadable_ones(predictors, tmp_path):
    predictor, out = predictors["segmentation"], tmp_path / "out"
    write_pictures(tmp_path / "pictures", 4)
    plan = planned(predictor, tmp_path / "pictures", out)
    (tmp_path / "pictures").rename(tmp_path / "unmounted")
    with pytest.raises(DataError, match=r"pictures: expected the folder .* any more"):
        predict_all(predictor, plan, out)
    assert finished(out) == set()


def test_only_ones_own_files_are_removed(predictors, tmp_path):
    out = tmp_path / "out"
    write_pictures(tmp_path / "pictures", 4)
    assert is_free(out)
    plan = planned(predictors["segmentation"], tmp_path / "pictures", out)
    predict_all(predictors["segmentation"], plan, out)
    (out / "plan.json").unlink()
    assert not is_free(out)  # results without a plan are somebody's
    left = out / "predictions" / f".part-000007.parquet.{'0' * 32}"
    left.touch()
    (out / "predictions" / "mine.parquet").touch()
    assert abandoned(out, 7) == 1 and abandoned(out, 0) == 0
    sweep(out)
    assert not left.exists()
    clear(out)
    assert [path.name for path in out.rglob("*")] == ["predictions", "mine.parquet"]
    assert is_free(tmp_path / "none")
