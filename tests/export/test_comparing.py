"""Differences between an exported file and its model are found, and how large they are."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sample_exports import built, mask_rcnn, segmentor

from mmconvnext.export.comparing import Difference, compare
from mmconvnext.export.graphs import build_graph
from mmconvnext.export.preparation import read_preparation


def sides(make, part="model"):
    """A graph's run by PyTorch, the graph, the model, an input."""
    cfg = make()
    model, task = built(cfg), "detection" if make is mask_rcnn else "segmentation"
    settings = read_preparation(cfg)
    graph = build_graph(model, task, settings, part=part, preprocessing="outside")

    def run(value: np.ndarray) -> dict[str, np.ndarray]:
        with torch.no_grad():
            found = graph(torch.from_numpy(value))
        return {name: x.numpy() for name, x in zip(graph.outputs, found, strict=True)}

    x = np.random.default_rng(0).standard_normal((1, 3, 64, 96)).astype(np.float32)
    return run, graph, model, x


@pytest.fixture(scope="module")
def detector():
    return sides(mask_rcnn)


def compared(these, change=lambda found: None) -> Difference:
    run, graph, model, x = these

    def changed(value: np.ndarray) -> dict[str, np.ndarray]:
        found = run(value)
        change(found)
        return found

    return compare(changed, graph, model, [x])


def test_the_same_detections_are_all_partners(detector):
    difference = compared(detector)
    assert not difference.failures and difference.count > 3
    assert difference.worst["box IoU"][0] > 0.999
    assert str(difference).startswith("box IoU 1")


def moved(found):
    found["boxes"][0, 0] += 0.3 * (found["boxes"][0, 2] - found["boxes"][0, 0])


def lost(found):
    for name in found:
        found[name] = found[name][1:]


def scored(found):
    found["scores"][1] += 0.0011


def labelled(found):
    found["labels"][0] = (found["labels"][0] + 1) % 3


def emptied(found):
    found["masks"][0] = 0.0


def no_number(found):
    found["scores"][0] = math.nan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (moved, "box IoU"),
        (lost, "no partner"),
        (scored, "scores differ by 0.0011"),
        (labelled, "no partner"),
        (emptied, "mask IoU 0"),
        (no_number, "scores differ by nan"),
    ],
)
def test_what_differs_is_named(detector, change, message):
    failures = compared(detector, change).failures
    assert any(message in failure for failure in failures), failures


def test_what_rounding_decides_may_be_on_one_side_only(detector):
    _, _, model, _ = detector
    cfg = model.roi_head.test_cfg
    (least,) = compared_scores(detector)[-1:]
    before = cfg.score_thr
    cfg.score_thr = least - 5e-4
    try:
        assert not compared(detector, without_last).failures
        cfg.score_thr = least - 2e-3
        assert compared(detector, without_last).failures
    finally:
        cfg.score_thr = before


def without_last(found):
    for name in found:
        found[name] = found[name][:-1]


def compared_scores(these) -> list[float]:
    run, _, _, x = these
    return run(x)["scores"].tolist()


def test_maps_of_classes_and_their_logits_are_compared():
    these = sides(segmentor)
    same = compared(these)
    assert not same.failures and same.count == 64 * 96

    def change(found):
        found["classes"][:, :1] += 1
        found["logits"] += 2e-3

    failures = compared(these, change).failures
    assert len(failures) == 2
    assert failures[0].startswith("logits differ by 0.002")
    assert failures[1].startswith("share of equal pixels 0.98")


def test_feature_maps_are_compared_by_their_own_size():
    these = sides(segmentor, part="backbone")
    same = compared(these)
    assert not same.failures and set(same.worst) == {f"stage_{n} differs by" for n in (1, 2, 3, 4)}

    def change(found):
        found["stage_3"] *= 1.01

    (failure,) = compared(these, change).failures
    assert failure.startswith("stage_3 differs by")
