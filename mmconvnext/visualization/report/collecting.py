"""A metric that gathers what a report shows of an evaluation, in memory that stays flat."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from mmconvnext.evaluation.confusion import (
    IOU,
    SCORE,
    class_ious,
    detection_confusion,
    f1_of,
    pixel_confusion,
)
from mmconvnext.visualization.grid import Color, Instance, Panel, paint
from mmconvnext.visualization.report.evaluation import BACKGROUND, Shown
from mmconvnext.visualization.report.page import LARGEST_SIDE, encode_picture

KEPT = 6  # best pictures, and as many worst ones
UNLABELLED: Color = (128, 128, 128)
# detection or not: how the confusion is counted, what a picture's score is
RULES = {
    True: (
        f"Objects matched one to one at box IoU of at least {IOU}; findings with a score of at "
        f"least {SCORE}; pairs of one class first. Background: not found, or nothing there.",
        f"Score of a picture: F1 of its objects, matched as for the confusion (IoU {IOU}, score "
        f"{SCORE}). Pictures without objects and findings have none.",
    ),
    False: (
        "Labelled pixels.",
        "Score of a picture: mean IoU of the classes that it has or that were predicted.",
    ),
}


class Collector(BaseMetric):
    """Counts confusions and keeps the best and worst pictures, painted.

    Detection takes its truth from ``dataset`` (test pipelines often load none), segmentation from
    the samples.

    Args:
        dataset: the test dataset, with ``metainfo`` and ``get_data_info``.

    Raises:
        ValueError: the samples have neither instances nor class maps.
    """

    default_prefix = "report"  # mmengine warns of metrics without one

    def __init__(self, dataset: Any) -> None:
        super().__init__()
        self.classes = [str(name) for name in dataset.metainfo["classes"]]
        self.palette = _palette(dataset.metainfo.get("palette"), len(self.classes))
        self.detects = True
        self.confusion = np.zeros((0, 0), np.int64)
        self.pictures = 0
        self._ranked: dict[str, list[tuple[tuple[float, float], Shown]]] = {"best": [], "worst": []}
        self._dataset = dataset
        self._places: dict[str, int] = {}

    @property
    def labels(self) -> list[str]:
        """Of the confusion's rows and columns."""
        return [*self.classes, BACKGROUND] if self.detects else self.classes

    def shown(self, kind: str) -> list[Shown]:
        """The ``'best'`` or ``'worst'`` pictures, the utmost first."""
        return [shown for _, shown in self._ranked[kind]]

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Take a batch's predictions."""
        for sample in data_samples:
            if "pred_sem_seg" in sample:
                self._segmented(sample)
            elif "pred_instances" in sample:
                self._detected(sample)
            else:
                raise ValueError(f"expected pred_instances or pred_sem_seg, found {list(sample)}")
            self.pictures += 1
            self.results.append(None)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Nothing: the figures are the evaluator's."""
        return {}

    def _segmented(self, sample: Mapping[str, Any]) -> None:
        self.detects = False
        predicted = _array(sample["pred_sem_seg"]["data"]).squeeze()
        if "gt_sem_seg" not in sample:
            return
        truth = _array(sample["gt_sem_seg"]["data"]).squeeze()
        counts = pixel_confusion(truth, predicted, len(self.classes))
        self._count(counts)
        if not counts.sum():
            return
        self._rank(
            sample["img_path"],
            float(np.nanmean(class_ious(counts))),
            float(len(np.unique(truth))),
            lambda picture: (Panel(picture, semantic=truth), Panel(picture, semantic=predicted)),
        )

    def _detected(self, sample: Mapping[str, Any]) -> None:
        instances = self._truth(sample["img_path"])
        ignored = [bool(entry.get("ignore_flag")) for entry in instances]
        boxes = np.array([entry["bbox"] for entry in instances], float).reshape(-1, 4)
        labels = np.array([entry["bbox_label"] for entry in instances], int)
        counted = ~np.array(ignored, bool)
        predicted = sample["pred_instances"]
        sure = _array(predicted["scores"]) >= SCORE
        found, found_labels = (_array(predicted[key])[sure] for key in ("bboxes", "labels"))
        counts = detection_confusion(
            boxes[counted],
            labels[counted],
            found,
            found_labels,
            len(self.classes),
            boxes[~counted],
        )
        self._count(counts)
        score = f1_of(counts)
        if score is None:
            return
        there = [entry for entry, skip in zip(instances, ignored, strict=True) if not skip]

        def panels(picture: np.ndarray) -> tuple[Panel, Panel]:
            shape = picture.shape[:2]
            truth = [_true_instance(entry, shape) for entry in there]
            return Panel(picture, truth), Panel(picture, _instances(predicted, sure, shape))

        self._rank(sample["img_path"], score, float(len(there)), panels)

    def _truth(self, path: str) -> list[dict[str, Any]]:
        if not self._places:
            for index in range(len(self._dataset)):
                self._places[self._dataset.get_data_info(index)["img_path"]] = index
        instances: list[dict[str, Any]] = self._dataset.get_data_info(self._places[path]).get(
            "instances", []
        )
        return instances

    def _count(self, counts: np.ndarray) -> None:
        self.confusion = counts if not self.confusion.size else self.confusion + counts

    def _rank(
        self,
        path: str,
        score: float,
        objects: float,
        panels: Callable[[np.ndarray], tuple[Panel, Panel]],
    ) -> None:
        """Keep the picture where it is among the utmost; of equals, those with more in them."""
        keys = {"best": (-score, -objects), "worst": (score, -objects)}
        wanted = [
            kind
            for kind, key in keys.items()
            if len(self._ranked[kind]) < KEPT or key < self._ranked[kind][-1][0]
        ]
        if not wanted:
            return
        from PIL import Image

        with Image.open(path) as image:
            picture = np.asarray(image.convert("RGB"))
        truth, prediction = (self._painted(panel) for panel in panels(picture))
        shown = Shown(str(path), round(score, 4), truth, prediction)
        for kind in wanted:
            ranked = sorted([*self._ranked[kind], (keys[kind], shown)], key=lambda entry: entry[0])
            self._ranked[kind] = ranked[:KEPT]

    def _painted(self, panel: Panel) -> str:
        from PIL import Image, ImageDraw, ImageFont

        image = Image.fromarray(paint(panel, self.palette))
        factor = min(1.0, LARGEST_SIDE / max(image.size))
        if max(image.size) < LARGEST_SIDE / 2:
            factor = LARGEST_SIDE / 2 / max(image.size)  # or the labels would hide a small one
        # Boxes and words come after the change of size, which would blur them.
        image = image.resize((round(image.width * factor), round(image.height * factor)))
        draw = ImageDraw.Draw(image)
        font = ImageFont.load_default(13)
        for instance in panel.instances:
            box = [side * factor for side in instance.box]
            color = self.palette[instance.label]
            draw.rectangle(box, outline=color, width=2)
            words = self.classes[instance.label]
            words += f" {instance.score:.2f}" if instance.score < 1 else ""
            corner = (box[0] + 2, max(box[1] - 15, 0))
            draw.rectangle(draw.textbbox(corner, words, font=font), fill=color)
            draw.text(corner, words, fill=_ink(color), font=font)
        return encode_picture(np.asarray(image))


def object_figures(collector: Collector) -> dict[str, list[float]]:
    """Each class's objects, and recall and precision by the confusion's rule."""
    hits = np.diag(collector.confusion)[:-1].astype(float)
    true, found = (collector.confusion.sum(axis)[:-1].astype(float) for axis in (1, 0))
    return {
        "objects": true.tolist(),
        "recall": _ratio(hits, true),
        "precision": _ratio(hits, found),
    }


def pixel_figures(collector: Collector) -> dict[str, list[float]]:
    """Each class's share of the pixels, IoU and accuracy (recall)."""
    hits = np.diag(collector.confusion).astype(float)
    true = collector.confusion.sum(1).astype(float)
    return {
        "share of pixels": _ratio(true, np.full_like(true, max(true.sum(), 1))),
        "IoU": class_ious(collector.confusion).tolist(),
        "accuracy": _ratio(hits, true),
    }


def _ratio(part: np.ndarray, whole: np.ndarray) -> list[float]:
    """NaN where the whole is nothing."""
    empty = np.full(len(whole), np.nan)
    ratio: list[float] = np.divide(part, whole, out=empty, where=whole > 0).tolist()
    return ratio


def _array(values: Any) -> np.ndarray:
    return values.cpu().numpy() if hasattr(values, "cpu") else np.asarray(values)


def _instances(predicted: Mapping[str, Any], sure: np.ndarray, shape: tuple) -> list[Instance]:
    masks = predicted.get("masks")
    return [
        Instance(
            label=int(_array(predicted["labels"])[index]),
            score=float(_array(predicted["scores"])[index]),
            box=tuple(_array(predicted["bboxes"])[index].tolist()),
            mask=np.zeros(shape, bool) if masks is None else _mask(masks[int(index)], shape),
        )
        for index in np.flatnonzero(sure)
    ]


def _true_instance(entry: Mapping[str, Any], shape: tuple) -> Instance:
    mask = entry.get("mask")
    drawn = np.zeros(shape, bool) if not mask else _mask(mask, shape)
    return Instance(int(entry["bbox_label"]), 1.0, tuple(entry["bbox"]), drawn)


def _mask(mask: Any, shape: tuple) -> np.ndarray:
    """Of a bitmap, COCO's run lengths or polygons."""
    if isinstance(mask, (dict, list)):
        from pycocotools import mask as coco_mask

        coded = mask
        if isinstance(mask, list):
            coded = coco_mask.merge(coco_mask.frPyObjects(mask, *shape))
        elif isinstance(mask.get("counts"), list):
            coded = coco_mask.frPyObjects(mask, *shape)
        return coco_mask.decode(coded).astype(bool)
    return _array(mask).astype(bool)


def _palette(given: Any, classes: int) -> list[Color]:
    """A colour for every label of a class map, by the data set's wish where it has one."""
    if isinstance(given, (list, tuple)) and len(given) >= classes:
        colors: list[Color] = [(int(r), int(g), int(b)) for r, g, b in given]
    else:
        # Hues a golden section apart: neighbours differ.
        hues = [colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.75, 0.95) for index in range(classes)]
        colors = [(int(255 * r), int(255 * g), int(255 * b)) for r, g, b in hues]
    return colors + [UNLABELLED] * (256 - len(colors))


def _ink(color: Color) -> str:
    red, green, blue = color
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"
