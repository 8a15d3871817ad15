"""Evaluating on annotation files with anything in them: mmdet's figures, or refused before."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from budget import examples
from coco_files import CLASSES, SIDE, absurd, sound
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.evaluation.metrics import CocoMetric
from mmengine.config import Config
from pycocotools import mask as coco_mask

from mmconvnext.cli.preflight import check_training
from mmconvnext.data.checks import DataError
from mmconvnext.data.shapes import ShapesSpec, make_coco_shapes
from mmconvnext.evaluation.coco_metric import FastCocoMetric


@pytest.fixture(autouse=True)
def in_silence():
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("evaluated")
    make_coco_shapes(root, ShapesSpec(train=4, val=1, size=SIDE))
    return root


def validated(root: Path, file: Path, kinds: list[str]) -> Config:
    """A config that trains on the made-up data and validates on ``file``."""
    dataset = {
        "type": "CocoDataset",
        "data_root": str(root),
        "ann_file": "annotations/instances_train.json",
        "data_prefix": {"img": "images/train/"},
        "metainfo": {"classes": CLASSES},
        "pipeline": [],
    }
    evaluator = {"type": "mmconvnext.FastCocoMetric", "ann_file": str(file), "metric": kinds}
    cfg = {"val_evaluator": evaluator, "val_cfg": {}, "model": {}, "train_cfg": {}}
    cfg |= {"train_dataloader": {"dataset": dataset}, "optim_wrapper": {}, "work_dir": str(root)}
    cfg["val_dataloader"] = {"dataset": {**dataset, "ann_file": str(file), "test_mode": True}}
    return Config({"default_scope": "mmdet", **cfg})


@st.composite
def findings(draw) -> list[dict[str, Any]]:
    """What a detector found in each of the pictures."""
    found = []
    for _ in range(4):
        count = draw(st.integers(0, 3))
        corners = draw(
            st.lists(st.tuples(*[st.integers(0, SIDE)] * 4), min_size=count, max_size=count)
        )
        boxes = [[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners]
        masks = np.zeros((SIDE, SIDE, count), np.uint8, order="F")
        for number, (left, top, right, bottom) in enumerate(boxes):
            masks[top:bottom, left:right, number] = 1
        found.append(
            {
                "bboxes": np.array(boxes, np.float32).reshape(-1, 4),
                "scores": np.array(draw(_scores(count)), np.float32),
                "labels": np.array(draw(_labels(count)), np.int64),
                "masks": coco_mask.encode(masks),
            }
        )
    return found


def _scores(count: int) -> st.SearchStrategy[list[float]]:
    return st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=count, max_size=count)


def _labels(count: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, len(CLASSES) - 1), min_size=count, max_size=count)


def figures(kind: type, results: list[Any], file: Path, kinds: list[str]) -> dict[str, float]:
    metric = kind(ann_file=str(file), metric=kinds)
    metric.dataset_meta = {"classes": CLASSES}
    return metric.compute_metrics(copy.deepcopy(results))


@pytest.mark.parametrize("strategy", [sound, absurd])
@settings(max_examples=examples(25))
@given(data_=st.data(), found=findings(), kinds=st.sampled_from([["bbox"], ["bbox", "segm"]]))
def test_figures_are_mmdets_or_the_file_is_refused(strategy, data_, found, kinds, data):
    content = data_.draw(strategy())
    file = data / "annotations" / "validated.json"
    file.write_text(json.dumps(content))
    try:
        check_training(validated(data, file, kinds))
    except DataError as error:
        assert "\n" not in str(error) and str(data) in str(error)
        assert strategy is absurd
        return
    ids = [image["id"] for image in json.loads(file.read_text())["images"]]
    shape = {"width": SIDE, "height": SIDE}
    results = [
        ({**shape, "img_id": number}, {**each, "img_id": number})
        for number, each in zip(ids, found, strict=False)
    ]
    ours = figures(FastCocoMetric, results, file, kinds)
    assert ours == pytest.approx(figures(CocoMetric, results, file, kinds), nan_ok=True)
