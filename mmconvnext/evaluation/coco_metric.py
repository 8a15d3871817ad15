"""mmdet's COCO metric, evaluated by faster-coco-eval: the same figures, several times as fast."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation.metrics import CocoMetric
from mmengine.logging import MMLogger
from torch import Tensor

from mmconvnext.evaluation.mask_coding import PackedMasks, encode_masks
from mmconvnext.evaluation.plain_ids import Numbered, with_plain_ids
from mmconvnext.evaluation.proposals import proposal_recalls
from mmconvnext.registry import METRICS

# Where pycocotools' summary has what mmdet calls so.
_PRECISIONS = ["mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l"]
_RECALLS = ["AR@100", "AR@300", "AR@1000", "AR_s@1000", "AR_m@1000", "AR_l@1000"]
_FIGURES = {name: index for index, name in enumerate(_PRECISIONS + _RECALLS)}


@METRICS.register_module()
class FastCocoMetric(CocoMetric):
    """mmdet's ``CocoMetric``: the same arguments, figures and names of figures.

    Predictions go to the evaluation as they are, not through JSON files, unless ``outfile_prefix``
    asks for them. ``use_mp_eval`` changes nothing: one process is faster. In two things it differs
    on purpose: with category ids that do not rise through the annotation file, each class gets its
    own figures (mmdet mixes them up); and where NumPy 2 fails mmdet's (``iou_thrs`` as a list or a
    number, 'proposal_fast') this one works.

    Raises:
        ImportError: faster-coco-eval is not installed.
        ValueError: fewer ``proposal_nums`` than pycocotools' summary takes.
    """

    # mmdet's, which has no types.
    iou_thrs: Any
    _coco_api: Any
    cat_ids: Any
    img_ids: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            import faster_coco_eval  # noqa: F401
        except ImportError as error:
            raise ImportError(
                f"FastCocoMetric needs faster-coco-eval ({error}): pip install faster-coco-eval, "
                "or take mmdet's own with type='mmdet.CocoMetric'"
            ) from error
        super().__init__(*args, **kwargs)
        if len(self.proposal_nums) < 3 and self.metrics != ["proposal_fast"]:
            raise ValueError(
                f"proposal_nums: pycocotools' summary takes three or more, "
                f"found {self.proposal_nums}"
            )
        self.iou_thrs = np.atleast_1d(self.iou_thrs)
        unknown = set(self.metric_items or ()) - _FIGURES.keys()
        if unknown:
            raise KeyError(f"metric item {min(unknown)!r}: expected some of {', '.join(_FIGURES)}")

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep a batch's predictions for compute_metrics; of masks only the run lengths."""
        before = len(self.results)
        super().process(data_batch, [_with_coded_masks(sample) for sample in data_samples])
        for _, found in self.results[before:]:
            _pack(found)

    def compute_metrics(self, results: list[tuple[dict, dict]]) -> dict[str, float]:
        """The figures of what process has kept; mmdet's names, rounded to three decimals.

        Raises:
            KeyError: masks are to be measured, and none were predicted.
            ValueError: predictions of other pictures than the annotation file's.
        """
        logger: MMLogger = MMLogger.get_current_instance()
        truth, predictions = zip(*results, strict=True)
        self._load_truth(truth)
        figures: OrderedDict[str, float] = OrderedDict()
        if self.outfile_prefix is not None:
            self.results2json([_as_mmdet_keeps(each) for each in predictions], self.outfile_prefix)
        if self.format_only:
            logger.info(f"results are saved in {Path(self.outfile_prefix).parent}")
            return figures
        for metric in self.metrics:
            logger.info(f"Evaluating {metric}...")
            if metric == "proposal_fast":
                nums = self.proposal_nums
                recalls = self.fast_eval_recall(predictions, nums, self.iou_thrs, logger)
                figures.update({f"AR@{n}": value for n, value in zip(nums, recalls, strict=True)})
                continue
            if metric == "segm" and "masks" not in predictions[0]:
                raise KeyError("segm is not in results: the model predicted no masks")
            if not any(len(prediction["labels"]) for prediction in predictions):
                logger.error("The testing results of the whole dataset is empty.")
                break
            figures.update(self._evaluate(metric, predictions, logger))
        return figures

    def _load_truth(self, truth: Sequence[dict[str, Any]]) -> None:
        """As mmdet does: without an annotation file, what the samples had becomes one."""
        if self._coco_api is None:
            with TemporaryDirectory() as folder:
                prefix = self.outfile_prefix or str(Path(folder) / "results")
                with redirect_stdout(io.StringIO()):
                    self._coco_api = COCO(self.gt_to_coco_json(truth, prefix))
        if self.cat_ids is None:
            self.cat_ids = self._coco_api.get_cat_ids(cat_names=self.dataset_meta["classes"])
        if self.img_ids is None:
            self.img_ids = self._coco_api.get_img_ids()

    def fast_eval_recall(
        self,
        results: Sequence[Any],
        proposal_nums: Sequence[int],
        iou_thrs: Sequence[float],
        logger: MMLogger | None = None,
    ) -> np.ndarray:
        """Average recall at each of ``proposal_nums``, found by mmdet's own matching of boxes."""
        truth = []
        for image in self.img_ids:
            there = self._coco_api.load_anns(self._coco_api.get_ann_ids(img_ids=image))
            boxes = [a["bbox"] for a in there if not (a.get("ignore", False) or a["iscrowd"])]
            corners = np.array(boxes, np.float64).reshape(-1, 4)
            corners[:, 2:] += corners[:, :2]
            truth.append(corners.astype(np.float32))
        proposals = [result["bboxes"] for result in results]
        recalls = proposal_recalls(truth, proposals, proposal_nums, np.asarray(iou_thrs))
        if logger is not None:
            named = zip(proposal_nums, recalls, strict=True)
            logger.info("".join(f"\nAR@{count}\t{recall:.4f}" for count, recall in named))
        return recalls

    def _evaluate(
        self, metric: str, predictions: Sequence[Any], logger: MMLogger
    ) -> dict[str, float]:
        """The figures of "bbox", "segm" or "proposal" (boxes of any class)."""
        evaluation = self._run(metric, predictions, logger)
        stats = evaluation.stats
        if metric == "proposal":
            wanted = self.metric_items or _RECALLS
            return {item: float(f"{stats[_FIGURES[item]]:.3f}") for item in wanted}
        figures = {}
        if self.classwise:
            figures.update(self._of_classes(evaluation, logger))
        wanted = self.metric_items or _PRECISIONS
        figures.update(
            {f"{metric}_{item}": float(round(stats[_FIGURES[item]], 3)) for item in wanted}
        )
        logger.info(f"{metric}_mAP_copypaste: {' '.join(f'{value:.3f}' for value in stats[:6])}")
        return figures

    def _run(self, metric: str, predictions: Sequence[Any], logger: MMLogger) -> Any:
        from mmconvnext.evaluation.coco_eval import evaluate_in_groups, index_annotations

        given = with_plain_ids(Numbered(self._coco_api.dataset, predictions, self.img_ids))
        params = {
            "imgIds": given.image_ids,
            "maxDets": list(self.proposal_nums),
            "iouThrs": self.iou_thrs,
            "useCats": int(metric != "proposal"),
        }
        evaluation = evaluate_in_groups(
            index_annotations(given.dataset),
            given.predictions,
            self.cat_ids,
            "segm" if metric == "segm" else "bbox",
            params,
        )
        said = io.StringIO()
        with redirect_stdout(said):
            evaluation.summarize()
        logger.info("\n" + said.getvalue().rstrip())
        return evaluation

    def _of_classes(self, evaluation: Any, logger: MMLogger) -> dict[str, float]:
        """Each class's average precision, and a table of it by overlap and size in the log."""
        from terminaltables import AsciiTable  # mmdet's own dependency

        precisions = evaluation.eval["precision"]  # overlap, recall, class, size, max detections
        overlaps = np.asarray(self.iou_thrs)
        figures, table = {}, [["category", *_PRECISIONS]]
        for category in self.cat_ids:
            name = self._coco_api.loadCats(category)[0]["name"]
            of_class = precisions[:, :, evaluation.params.catIds.index(category), :, -1]
            parts = [
                of_class[..., 0],
                *(of_class[np.isclose(overlaps, overlap), :, 0] for overlap in (0.5, 0.75)),
                *(of_class[..., size] for size in (1, 2, 3)),
            ]
            averages = [round(_average(part), 3) for part in parts]
            figures[f"{name}_precision"] = averages[0]
            table.append([name, *map(str, averages)])
        logger.info("\n" + AsciiTable(table).table)
        return figures


def _average(precisions: np.ndarray) -> float:
    """NaN: the class has no annotation (of this size)."""
    there = precisions[precisions > -1]
    return float(np.mean(there)) if there.size else float("nan")


def _with_coded_masks(sample: Mapping[str, Any]) -> dict[str, Any]:
    found = sample["pred_instances"]
    if not isinstance(found.get("masks"), (Tensor, np.ndarray)):
        return dict(sample)  # none, or run lengths already
    return {**sample, "pred_instances": {**found, "masks": encode_masks(found["masks"])}}


def _pack(found: dict[str, Any]) -> None:
    """Let go of what a picture's predictions were cut from, and lay its masks side by side."""
    for name, values in found.items():
        if isinstance(values, np.ndarray):
            found[name] = values.copy()  # a view keeps all that it is a view of
    masks = found.get("masks")
    if masks and all(_is_like(mask, masks[0]) for mask in masks):
        found["masks"] = PackedMasks(masks)


def _is_like(mask: Mapping[str, Any], first: Mapping[str, Any]) -> bool:
    return isinstance(mask["counts"], (bytes, str)) and list(mask["size"]) == list(first["size"])


def _as_mmdet_keeps(found: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(found.get("masks"), PackedMasks):
        return {**found, "masks": list(found["masks"])}
    return dict(found)
