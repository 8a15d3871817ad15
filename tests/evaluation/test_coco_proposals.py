"""The fast recall of proposals: against mmdet's where NumPy 2 lets it count, else by hand."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from sample_coco import both, corners, figures

from mmconvnext.benchmarks.made_up_results import coco_predictions
from mmconvnext.evaluation.coco_metric import FastCocoMetric
from mmconvnext.evaluation.proposals import proposal_recalls


def test_fast_recall_of_proposals_is_mmdets(truth, tmp_path):
    """NumPy 2 lets mmdet's own count only where all pictures have equally many boxes."""
    made = copy.deepcopy(truth[0])
    by_image: dict[int, list] = {}
    for annotation in made["annotations"]:
        annotation["iscrowd"] = 0
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    equal = [there[:3] for there in by_image.values() if len(there) >= 3]
    made["annotations"] = [annotation for there in equal for annotation in there]
    made["images"] = [made["images"][there[0]["image_id"]] for there in equal]
    file = tmp_path / "equal.json"
    file.write_text(json.dumps(made))
    results = coco_predictions(made, 12)
    kwargs = dict(ann_file=str(file), metric="proposal_fast")
    found = both(results, proposal_nums=(2, 5, 10), **kwargs)
    assert 0.1 < found["AR@2"] < found["AR@5"] < found["AR@10"] < 1
    assert list(both(results, proposal_nums=(10,), iou_thrs=np.array([0.6]), **kwargs)) == ["AR@10"]


def test_fast_recall_of_proposals_with_unequal_pictures():
    truth = [
        np.array([[0, 0, 10, 10], [0, 0, 10, 8]], np.float32),
        np.zeros((0, 4), np.float32),
        np.array([[5, 5, 9, 9]], np.float32),
    ]
    proposals = [np.array([[0, 0, 10, 9]]), np.array([[1, 1, 2, 2]] * 3), np.zeros((0, 4))]
    # One proposal reaches one of two, at 0.9; nothing was proposed in the third picture.
    found = proposal_recalls(truth, proposals, [1, 2], np.array([0.5, 0.89, 0.95]))
    assert found == pytest.approx([2 / 9, 2 / 9])
    assert np.isnan(proposal_recalls(truth[1:2], proposals[1:2], [1], np.array([0.5]))).all()


def test_proposal_fast_skips_what_does_not_count(truth):
    made, file = truth
    ignored = sum(bool(a["iscrowd"] or a.get("ignore")) for a in made["annotations"])
    perfect = [
        (
            {},
            {
                "img_id": image["id"],
                "bboxes": np.array(
                    [
                        corners(a["bbox"])
                        for a in made["annotations"]
                        if a["image_id"] == image["id"] and not (a["iscrowd"] or a.get("ignore"))
                    ]
                ).reshape(-1, 4),
                "labels": np.zeros(0),
            },
        )
        for image in made["images"]
    ]
    assert ignored > 5
    found = figures(FastCocoMetric, perfect, ann_file=file, metric="proposal_fast")
    assert found["AR@100"] == 1
