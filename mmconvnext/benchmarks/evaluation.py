"""What evaluating costs: COCO's figures, the coding of masks, mIoU; stock against ours."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmengine.logging import MMLogger

from mmconvnext.benchmarks import made_up_results
from mmconvnext.benchmarks.timing import ROUNDS, Row, Table, interleaved

_IMAGES, _DETECTIONS, _CLASSES, _TRUTH = 2000, 60, 80, 7
_MAPS, _MAP_CLASSES, _MAP_SIZE = 20, 150, (512, 683)
_MASKS, _MASK_SIZE = 100, (800, 1216)


def measure(rounds: int = ROUNDS) -> list[Table]:
    """Time mmdet's and mmseg's metrics and ours; a round of the COCO metrics takes long."""
    MMLogger.get_instance("benchmark", log_level="ERROR")  # the metrics log their tables
    return [_coco(rounds), _coding(rounds), _miou(rounds)]


def _coco(rounds: int) -> Table:
    title = (
        f"COCO metric, boxes and masks: {_IMAGES} pictures, {_IMAGES * _DETECTIONS} detections, "
        f"{_CLASSES} classes, about {_TRUTH} annotations a picture; compute_metrics"
    )
    try:
        import faster_coco_eval  # noqa: F401
        from mmdet.evaluation.metrics import CocoMetric

        from mmconvnext.evaluation.coco_metric import FastCocoMetric
    except ImportError as error:
        return _not_run(title, "FastCocoMetric", 0.2, error)
    truth = made_up_results.coco_annotations(_IMAGES, _CLASSES, _TRUTH)
    results = made_up_results.coco_predictions(truth, _DETECTIONS)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "instances.json"
        file.write_text(json.dumps(truth))
        candidates = {
            kind.__name__: _computing(kind, str(file), truth, results)
            for kind in (CocoMetric, FastCocoMetric)
        }
        rows = interleaved(candidates, rounds, warmup=0)
    return Table(title, "s", rows, ("FastCocoMetric",), target=0.2)


def _computing(kind: Any, file: str, truth: dict, results: list) -> Callable[[], object]:
    """Figures of predictions as process leaves them: each time with codes of bytes."""
    with redirect_stdout(io.StringIO()):
        metric = kind(ann_file=file, metric=["bbox", "segm"])
    metric.dataset_meta = {"classes": [category["name"] for category in truth["categories"]]}

    def run() -> object:
        # mmdet's turns the codes into strings in place.
        fresh = [
            (picture, {**found, "masks": [dict(mask) for mask in found["masks"]]})
            for picture, found in results
        ]
        with redirect_stdout(io.StringIO()):
            return metric.compute_metrics(fresh)

    return run


def _coding(rounds: int) -> Table:
    title = f"Coding {_MASKS} masks of {_MASK_SIZE[0]}x{_MASK_SIZE[1]} pixels"
    try:
        from mmdet.structures.mask import encode_mask_results
    except ImportError as error:
        return _not_run(title, "encode_masks", 1.0, error)
    from mmconvnext.evaluation.mask_coding import encode_masks

    masks = made_up_results.masks(_MASKS, _MASK_SIZE)
    candidates: dict[str, Callable[[], object]] = {
        "encode_mask_results": lambda: encode_mask_results(masks.cpu().numpy()),
        "encode_masks": lambda: encode_masks(masks),
    }
    return Table(title, "s", interleaved(candidates, rounds), ("encode_masks",), target=1.0)


def _miou(rounds: int) -> Table:
    title = (
        f"mIoU metric: {_MAPS} maps of {_MAP_SIZE[0]}x{_MAP_SIZE[1]} pixels, "
        f"{_MAP_CLASSES} classes; process and compute_metrics"
    )
    try:
        from mmseg.evaluation.metrics import IoUMetric

        from mmconvnext.evaluation.iou_metric import FastIoUMetric
    except ImportError as error:
        return _not_run(title, "FastIoUMetric", 0.5, error)
    samples = made_up_results.class_maps(_MAPS, _MAP_CLASSES, _MAP_SIZE)
    candidates = {kind.__name__: _counting(kind, samples) for kind in (IoUMetric, FastIoUMetric)}
    return Table(title, "s", interleaved(candidates, rounds), ("FastIoUMetric",), target=0.5)


def _counting(kind: Any, samples: list[dict[str, Any]]) -> Callable[[], object]:
    def run() -> object:
        metric = kind()
        metric.dataset_meta = {"classes": [f"class {index}" for index in range(_MAP_CLASSES)]}
        for sample in samples:
            metric.process({}, [sample])
        return metric.evaluate(size=len(samples))

    return run


def _not_run(title: str, ours: str, target: float, error: ImportError) -> Table:
    return Table(title, "s", [Row(ours, note=str(error))], (ours,), target)
