"""The fast COCO evaluation against pycocotools'."""

from __future__ import annotations

import copy
from itertools import chain

import numpy as np
import pytest
from sample_coco import CLASSES, evaluations, findings

from mmconvnext.evaluation import coco_eval
from mmconvnext.evaluation.coco_eval import as_coco, index_annotations


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"maxDets": [100, 300, 1000]},
        {"maxDets": [3, 5, 7]},
        {"maxDets": [7, 100, 3]},
        {"useCats": 0},
        {"useCats": 0, "maxDets": [1, 4, 100]},
        {"iouThrs": np.array([0.5, 0.75])},
        {"imgIds": [5, 1, 2, 30, 1], "catIds": [7, 1]},
    ],
    ids=str,
)
def test_every_number_is_pycocotools(truth, kind, params):
    made, _ = truth
    expected, found = evaluations(made, findings(made), kind, **copy.deepcopy(params))
    for name in ("precision", "recall", "scores"):
        assert found.eval[name].shape == expected.eval[name].shape
        np.testing.assert_allclose(found.eval[name], expected.eval[name], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.stats, expected.stats, rtol=0, atol=1e-12)
    assert found.stats.shape == (12,)
    assert 0.02 < found.eval["precision"].max() <= 1


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("limits", [{"_DETECTIONS": 400}, {"_PLACES": 2 * 40}, {"_PLACES": 1}])
def test_a_few_classes_at_a_time_give_the_same_numbers(truth, kind, limits, monkeypatch):
    made, _ = truth
    results = findings(made)
    expected, whole = evaluations(made, results, kind, maxDets=[1, 10, 100])
    for name, value in limits.items():
        monkeypatch.setattr(coco_eval, name, value)
    ids = [category["id"] for category in made["categories"]][::-1]
    predictions = [{**found, "labels": CLASSES - 1 - found["labels"]} for _, found in results]
    groups = list(coco_eval._groups(predictions, ids, 40))
    assert 1 < len(groups) <= CLASSES and [*chain(*groups)] == ids[::-1]
    found = coco_eval.evaluate_in_groups(
        index_annotations(copy.deepcopy(made)),
        predictions,
        ids,
        kind,
        {"imgIds": [image["id"] for image in made["images"]], "maxDets": [1, 10, 100]},
    )
    found.summarize()
    for name in ("precision", "recall", "scores"):
        np.testing.assert_array_equal(found.eval[name], whole.eval[name])
        np.testing.assert_allclose(found.eval[name], expected.eval[name], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(found.stats, whole.stats)
    assert found.params.catIds == whole.params.catIds


def test_detections_of_some_categories_only(truth):
    made, _ = truth
    ids = [category["id"] for category in made["categories"]]
    results = [found for _, found in findings(made)]
    for masks in (False, True):
        every = list(as_coco(results, ids, masks))
        wanted = [found for found in every if found["category_id"] in ids[1:3]]
        assert list(as_coco(results, ids, masks, ids[1:3])) == wanted
        assert 0 < len(wanted) < len(every)
