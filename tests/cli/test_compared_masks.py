"""Outlines that only the evaluation reads are looked at before the run; found by fuzzing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from mmconvnext.cli.preflight import check_training
from mmconvnext.data.checks import DataError
from mmconvnext.data.shapes import ShapesSpec, make_coco_shapes

VAL = "annotations/instances_val.json"


@pytest.fixture
def root(tmp_path) -> Path:
    make_coco_shapes(tmp_path, ShapesSpec(train=1, val=2, size=64))
    return tmp_path


def broken(file: Path, out: Path) -> Path:
    """A copy of an annotation file, in which the first object has no outline."""
    content = json.loads(file.read_text())
    content["annotations"][0]["segmentation"] = None
    out.write_text(json.dumps(content))
    return out


def check(root: Path, compared_with: Path, metric: Any, kind: str = "CocoMetric") -> None:
    dataset = {"type": "CocoDataset", "data_root": str(root), "pipeline": []}
    dataset["metainfo"] = {"classes": ("circle", "square", "triangle")}
    train = {"ann_file": "annotations/instances_train.json", "data_prefix": {"img": "images/train"}}
    val = {"ann_file": VAL, "data_prefix": {"img": "images/val"}, "test_mode": True}
    evaluator = {"type": kind, "ann_file": str(compared_with), "metric": metric}
    cfg = {"default_scope": "mmdet", "model": {}, "train_cfg": {}, "optim_wrapper": {}}
    cfg |= {"val_cfg": {}, "val_evaluator": evaluator, "work_dir": str(root / "run")}
    cfg["train_dataloader"] = {"dataset": {**dataset, **train}}
    cfg["val_dataloader"] = {"dataset": {**dataset, **val}}
    check_training(Config(cfg))


@pytest.mark.parametrize("metric", ["segm", ["bbox", "segm"]])
def test_an_outline_that_masks_are_compared_with_is_missed(root, metric):
    check(root, root / VAL, metric)
    broken(root / VAL, root / VAL)
    check(root, root / VAL, "bbox")  # which reads none
    with pytest.raises(DataError, match="have no 'segmentation', and the config needs masks"):
        check(root, root / VAL, metric)


def test_an_evaluators_own_file_is_looked_at(root):
    other = broken(root / VAL, root / "annotations" / "other.json")
    check(root, other, "bbox")
    with pytest.raises(DataError) as error:
        check(root, other, "segm")
    assert str(error.value).startswith(f"val_evaluator: annotation file {other} annotation 1 of im")
    assert "has no 'segmentation'" in str(error.value)
