"""Made-up annotations and findings, and what mmdet and pycocotools make of them."""

from __future__ import annotations

import copy

import numpy as np
import torch
from mmdet.evaluation.metrics import CocoMetric
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmconvnext.benchmarks.made_up_results import SIZE, coco_annotations, coco_predictions
from mmconvnext.evaluation.coco_eval import (
    FastCOCOeval,
    as_coco,
    index_annotations,
    index_detections,
)
from mmconvnext.evaluation.coco_metric import FastCocoMetric

CLASSES = 6
NAMES = tuple(f"class {index}" for index in range(CLASSES))


def annotations(images: int = 40) -> dict:
    """Pictures without annotations, crowds, an "ignore" flag, and a class without annotations."""
    made = coco_annotations(images, CLASSES, per_image=5)
    kept = [
        annotation
        for annotation in made["annotations"]
        if annotation["category_id"] != 2 * CLASSES - 1 and annotation["image_id"] not in (3, 4)
    ]
    for annotation in kept[::9]:
        annotation["iscrowd"] = 1
    kept[1]["ignore"] = 1
    made["annotations"] = kept
    return made


def findings(truth: dict, per_image: int = 30) -> list[tuple[dict, dict]]:
    """Many equal scores, a class and pictures without findings, masks' own scores."""
    results = coco_predictions(truth, per_image)
    for _, found in results:
        kept = (found["labels"] != 0) & (found["img_id"] % 7 != 3)
        found["masks"] = [mask for mask, keep in zip(found["masks"], kept, strict=True) if keep]
        for name in ("bboxes", "scores", "labels"):
            found[name] = found[name][kept]
        found["scores"] = found["scores"].round(1)
        found["mask_scores"] = (found["scores"] * 0.7 + 0.1).round(2)
    return results


def figures(kind: type, results: list, classes: tuple[str, ...] = NAMES, **kwargs) -> dict:
    metric = kind(**kwargs)
    metric.dataset_meta = {"classes": classes}
    return metric.compute_metrics(copy.deepcopy(results))


def both(results: list, **kwargs) -> dict:
    """The fast metric's figures, once they are found to be mmdet's."""
    expected = figures(CocoMetric, results, **kwargs)
    found = figures(FastCocoMetric, results, **kwargs)
    assert list(found) == list(expected)
    np.testing.assert_array_equal(list(found.values()), list(expected.values()))
    return found


def evaluations(
    made: dict, results: list, kind: str, **params: object
) -> tuple[COCOeval, FastCOCOeval]:
    ids = [category["id"] for category in made["categories"]]
    found = list(as_coco((found for _, found in results), ids, masks=kind == "segm"))
    peer = COCO()
    peer.dataset = copy.deepcopy(made)
    peer.createIndex()
    indexed = index_annotations(copy.deepcopy(made))
    pair = (
        COCOeval(peer, peer.loadRes(copy.deepcopy(found)), kind),
        FastCOCOeval(indexed, index_detections(indexed, found), kind),
    )
    for evaluation in pair:
        for name, value in params.items():
            setattr(evaluation.params, name, value)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return pair


def as_samples(made: dict, results: list, masks: bool = True) -> list[dict]:
    """What an evaluator hands over, with the annotations that the data set read."""
    samples = []
    for picture, found in results:
        there = [a for a in made["annotations"] if a["image_id"] == found["img_id"]]
        instances = {name: torch.from_numpy(found[name]) for name in ("bboxes", "scores", "labels")}
        if masks:
            instances["masks"] = torch.from_numpy(_bitmaps(found["masks"]))
        samples.append(
            {
                "img_id": found["img_id"],
                "ori_shape": (picture["height"], picture["width"]),
                "pred_instances": instances,
                "instances": [
                    {
                        "bbox_label": annotation["category_id"] // 2,
                        "bbox": corners(annotation["bbox"]),
                        "ignore_flag": annotation["iscrowd"],
                        "mask": annotation["segmentation"],
                    }
                    for annotation in there
                ],
            }
        )
    return samples


def _bitmaps(coded: list[dict]) -> np.ndarray:
    if not coded:
        return np.zeros((0, *SIZE), bool)
    return rle.decode(coded).transpose(2, 0, 1).astype(bool)


def corners(box: list[float]) -> list[float]:
    return [box[0], box[1], box[0] + box[2], box[1] + box[3]]
