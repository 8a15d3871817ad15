"""The recipes' metrics: this package's, with the arguments that mmdet's and mmseg's had."""

from __future__ import annotations

import copy

import pytest
from mmengine.config import Config
from mmengine.registry import METRICS, DefaultScope
from published import ALL, DETECTION, load

DEMO = ["demo/cascade_convnext_shapes.py", "demo/upernet_convnext_shapes.py"]


@pytest.mark.parametrize("name", [*ALL, *DEMO])
def test_recipes_measure_with_the_fast_metrics(name: str) -> None:
    cfg = load(name)
    detects = cfg.default_scope == "mmdet"
    for key in ("val_evaluator", "test_evaluator"):
        metric = cfg[key]
        assert metric.type == f"mmconvnext.Fast{'Coco' if detects else 'IoU'}Metric"
        if detects:
            assert metric.ann_file == cfg.val_dataloader.dataset.data_root + (
                cfg.val_dataloader.dataset.ann_file
            )
            assert metric.metric == ["bbox", "segm"]
        else:
            assert metric.iou_metrics == ["mIoU"]


@pytest.mark.parametrize("name", [DETECTION[0], *DEMO])
def test_the_stock_metrics_are_one_line_away(name: str) -> None:
    cfg: Config = copy.deepcopy(load(name))
    stock = "CocoMetric" if cfg.default_scope == "mmdet" else "IoUMetric"
    cfg.merge_from_dict({"val_evaluator.type": stock, "test_evaluator.type": stock})
    arguments = {key: value for key, value in cfg.test_evaluator.items() if key != "ann_file"}
    assert cfg.val_evaluator.type == stock
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        metric = METRICS.build(arguments)
    assert type(metric).__module__.startswith(cfg.default_scope)
