"""pycocotools' evaluation, its two slow steps done in C++ by faster-coco-eval."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from faster_coco_eval import mask as rle
from pycocotools.cocoeval import COCOeval

# Of what is looked at together, at most: some hundred bytes each.
_DETECTIONS = 50_000
_PLACES = 50_000  # pictures times classes
_CLASS_AXES = {"precision": 2, "recall": 1, "scores": 2}
_SHARED = ("imgIds", "catIds", "maxDets", "iouThrs", "recThrs", "areaRng", "areaRngLbl", "useCats")


class FastCOCOeval(COCOeval):
    """A ``pycocotools.cocoeval.COCOeval`` that finds the same figures in a fraction of the time.

    Matching and accumulating are faster-coco-eval's. ``summarize`` stays pycocotools': the other's
    takes the largest of ``maxDets`` for what pycocotools reports at 100 detections.

    Args:
        truth: the annotations, of index_annotations.
        found: the detections, of index_detections.
        iou_type: "bbox" or "segm".
    """

    def __init__(self, truth: COCO, found: COCO, iou_type: str) -> None:
        super().__init__(truth, found, iou_type)

    def evaluate(self) -> None:
        """Match and accumulate: ``eval`` holds precision, recall and scores afterwards."""
        params = self.params
        params.imgIds = list(np.unique(params.imgIds))
        params.catIds = list(np.unique(params.catIds)) if params.useCats else params.catIds
        params.maxDets = sorted(params.maxDets)
        # Of a picture and a class there are a few masks: a thread costs more than it saves.
        quick = COCOeval_faster(self.cocoGt, self.cocoDt, params.iouType, rle_iou_max_workers=1)
        for name in _SHARED:
            setattr(quick.params, name, getattr(params, name))
        quick.evaluate()
        self.eval = quick.eval

    def accumulate(self, p: Any = None) -> None:
        """Nothing is left to do after evaluate."""


def evaluate_in_groups(
    truth: COCO,
    predictions: Sequence[Mapping[str, Any]],
    category_ids: Sequence[int],
    iou_type: str,
    params: Mapping[str, Any],
) -> FastCOCOeval:
    """Evaluate predictions, some classes at a time: what has to be in memory beside the predictions
    does not grow with their number. Classes do not depend on each other, so the figures are those
    of all at once; without classes (``useCats`` 0) all is one group.

    Args:
        truth: the annotations, of index_annotations.
        predictions: of each picture, see as_coco.
        category_ids: of the labels.
        iou_type: "bbox" or "segm".
        params: attributes of pycocotools' ``Params`` but ``catIds``: ``imgIds`` and others.

    Returns:
        The evaluation, ready to summarize.

    Raises:
        ValueError: a detection is of a picture that the annotations do not have.
    """
    groups = list(_groups(predictions, category_ids, len(params["imgIds"])))
    if not params.get("useCats", 1):
        groups = [list(category_ids)]
    parts = []
    for group in groups:
        masks = iou_type == "segm"
        found = index_detections(truth, as_coco(predictions, category_ids, masks, group))
        evaluation = FastCOCOeval(truth, found, iou_type)
        for name, value in {**params, "catIds": group}.items():
            setattr(evaluation.params, name, value)
        evaluation.evaluate()
        parts.append(evaluation.eval)
    evaluation.params.catIds = [category for group in groups for category in group]
    evaluation.eval = {
        name: np.concatenate([part[name] for part in parts], axis)
        for name, axis in _CLASS_AXES.items()
    }
    return evaluation


def _groups(
    predictions: Sequence[Mapping[str, Any]], category_ids: Sequence[int], pictures: int
) -> Iterator[list[int]]:
    """The categories in rising order, as many together as the limits allow, at least one."""
    labels = np.concatenate([prediction["labels"] for prediction in predictions])
    found, counts = np.unique(np.asarray(category_ids)[labels.astype(int)], return_counts=True)
    detections = dict(zip(found.tolist(), counts.tolist(), strict=True))
    group: list[int] = []
    held = 0
    for category in np.unique(category_ids).tolist():
        count = detections.get(category, 0)
        if group and (held + count > _DETECTIONS or (len(group) + 1) * pictures > _PLACES):
            yield group
            group, held = [], 0
        group.append(category)
        held += count
    yield group


def index_annotations(dataset: dict[str, Any]) -> COCO:
    """Index the content of a COCO annotation file; its annotations are shared, not copied."""
    return COCO(dataset)


def index_detections(truth: COCO, results: Iterable[dict[str, Any]]) -> COCO:
    """Index detections, as pycocotools' ``loadRes``, for the pictures and classes of ``truth``.

    Args:
        truth: the annotations, of index_annotations.
        results: dicts with image_id, category_id, score and bbox or segmentation; they are filled
            up in place.

    Raises:
        ValueError: a detection is of a picture that the annotations do not have.
    """
    found = list(results)
    strangers = {result["image_id"] for result in found} - truth.imgs.keys()
    if strangers:
        raise ValueError(
            f"predictions: picture {min(strangers)} is not in the annotation file, "
            f"which has {len(truth.imgs)} others; take the file that the test data set reads"
        )
    for number, (result, area) in enumerate(zip(found, _areas(found), strict=True), start=1):
        result.update(id=number, area=area, iscrowd=0)
    dataset = {key: truth.dataset[key] for key in ("images", "categories")}
    return COCO({**dataset, "annotations": found})


def as_coco(
    predictions: Iterable[Mapping[str, Any]],
    category_ids: Sequence[int],
    masks: bool,
    wanted: Collection[int] | None = None,
) -> Iterator[dict[str, Any]]:
    """mmdet's predictions as COCO's results, a detection each.

    Args:
        predictions: of each picture img_id, bboxes (N, 4) x1 y1 x2 y2, scores (N,), labels (N,)
            and, for masks, masks (N run lengths) and, if they have their own, mask_scores (N,).
        category_ids: of the labels.
        masks: give masks instead of boxes.
        wanted: give only detections of these categories. None: of all.
    """
    ids = np.asarray(category_ids)
    for prediction in predictions:
        scores = prediction["scores"]
        if masks:
            scores = prediction.get("mask_scores", scores)
        regions = prediction["masks" if masks else "bboxes"]
        categories = ids[prediction["labels"].astype(int)][: min(len(scores), len(regions))]
        places = np.arange(len(categories))
        if wanted is not None:
            places = np.flatnonzero(np.isin(categories, list(wanted)))
        image = int(prediction["img_id"])
        if masks:
            key, chosen = "segmentation", [regions[place] for place in places.tolist()]
        else:
            key, chosen = "bbox", _corner_and_size(regions[places])
        for category, score, region in zip(
            categories[places].tolist(), scores[places].tolist(), chosen, strict=True
        ):
            yield {"image_id": image, "category_id": category, "score": score, key: region}


def _areas(results: Sequence[Mapping[str, Any]]) -> list[float]:
    if results and "segmentation" in results[0]:
        return rle.area([result["segmentation"] for result in results]).tolist()
    return [result["bbox"][2] * result["bbox"][3] for result in results]


def _corner_and_size(boxes: np.ndarray) -> list[list[float]]:
    """(N, 4), x1 y1 x2 y2, as x y width height; in double precision, as pycocotools has them."""
    corners = boxes.astype(np.float64)
    corners[:, 2:] -= corners[:, :2]
    return corners.tolist()
