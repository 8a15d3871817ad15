"""Test-time augmentation: one prediction from several views (sizes, flips) of a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.model import BaseTTAModel
from mmengine.structures import PixelData
from torch import Tensor, nn

from mmconvnext.registry import MODELS

_FLIPPED_DIMS = {"horizontal": (-1,), "vertical": (-2,), "diagonal": (-2, -1)}
_NO_FLIP = {"flip": False, "flip_direction": None}
_INSTANCE_FIELDS = ("bboxes", "scores", "labels", "masks")


@MODELS.register_module()
class InstanceTTAModel(BaseTTAModel):
    """Merges what a detector of mmdetection found in the views of a picture, masks included.

    Boxes and masks of flipped views are flipped back, then all views' boxes go through one
    class-wise NMS, as in mmdet's ``DetTTAModel``, which refuses masks. On each pixel of the mask of
    a box that stays, all boxes of its class vote that overlap it by more than NMS's threshold: it
    is set where those whose masks have it set hold more than half of the scores.

    Args:
        module: the detector or its config.
        tta_cfg: ``nms``, as mmcv's ``batched_nms`` takes it, and ``max_per_img``; by default an IoU
            of 0.5 and 100.
        data_preprocessor: replaces the detector's own.
    """

    def __init__(
        self,
        module: nn.Module | dict[str, Any],
        tta_cfg: Mapping[str, Any] | None = None,
        data_preprocessor: nn.Module | dict[str, Any] | None = None,
    ) -> None:
        super().__init__(module, data_preprocessor)
        cfg = tta_cfg or {}
        self.nms = dict(cfg.get("nms") or {"type": "nms", "iou_threshold": 0.5})
        self.max_per_img = int(cfg.get("max_per_img", 100))

    def test_step(self, data: dict[str, list[Any]]) -> list[Any]:
        """Predict each view of a batch and merge.

        Args:
            data: of each key, a list over views of lists over pictures.

        Returns:
            As merge_preds.
        """
        predictions = []
        for view in _views(data):
            samples = view["data_samples"]
            # Of a flipped view, mmdet's cascades would mirror the masks inside their RoIs, which
            # lie as the view does (its issue 1466): to the detector no view is flipped.
            view["data_samples"] = [s.new(metainfo={**s.metainfo, **_NO_FLIP}) for s in samples]
            predictions.append(self.module.test_step(view))
            for found, sample in zip(predictions[-1], samples, strict=True):
                found.set_metainfo({key: sample.metainfo.get(key) for key in _NO_FLIP})
        return self.merge_preds(list(zip(*predictions, strict=True)))

    def merge_preds(self, data_samples_list: Sequence[Sequence[Any]]) -> list[Any]:
        """Merge each picture's views.

        Args:
            data_samples_list: for each picture the ``DetDataSample`` of each of its views, boxes
                and masks in the size of the original picture.

        Returns:
            One ``DetDataSample`` a picture: that of its first view, with the merged
            ``pred_instances``, by falling score.

        Raises:
            TypeError: the model predicts no instances.
        """
        return [self._merge(views) for views in data_samples_list]

    def _merge(self, views: Sequence[Any]) -> Any:
        from mmcv.ops import batched_nms  # slow to import, and a segmentor's user may lack mmcv's

        upright = [_upright_instances(view) for view in views]
        fields = {name: torch.cat([view[name] for view in upright]) for name in upright[0]}
        if len(fields["scores"]):
            boxes, scores = fields["bboxes"], fields["scores"]
            kept_boxes, kept = batched_nms(boxes, scores, fields["labels"], self.nms)
            kept = kept[: self.max_per_img]
            voters = _voters(fields, kept, self.nms.get("iou_threshold", 0.5))
            masks = fields.pop("masks", None)
            fields = {name: values[kept] for name, values in fields.items()}
            if masks is not None:
                fields["masks"] = torch.stack([_vote(masks[v], scores[v]) for v in voters])
            # Soft NMS lowers scores.
            fields["scores"] = kept_boxes[: self.max_per_img, -1].to(scores)
        return _as_original(views[0], pred_instances=views[0].pred_instances.new(**fields))


@MODELS.register_module()
class SemanticTTAModel(BaseTTAModel):
    """Averages the class probabilities that a segmentor of mmsegmentation gives a picture's views.

    As mmseg's ``SegTTAModel``, but the views' maps are added up one by one (12 views of 150 classes
    at 2000x1500 pixels would take 21 GB), a single output channel goes through the sigmoid once,
    and nothing of a single view is left in the result.

    Args:
        module: the segmentor or its config.
        test_cfg: replaces entries of the segmentor's own, e.g. ``dict(mode='whole')``.
        data_preprocessor: replaces the segmentor's own.
    """

    def __init__(
        self,
        module: nn.Module | dict[str, Any],
        test_cfg: Mapping[str, Any] | None = None,
        data_preprocessor: nn.Module | dict[str, Any] | None = None,
    ) -> None:
        super().__init__(module, data_preprocessor)
        if test_cfg:
            self.module.test_cfg = ConfigDict({**(self.module.test_cfg or {}), **test_cfg})

    def test_step(self, data: dict[str, list[Any]]) -> list[Any]:
        """Predict each view of a batch and average.

        Args:
            data: of each key, a list over views of lists over pictures.

        Returns:
            One ``SegDataSample`` a picture; its ``seg_logits`` are those whose softmax (of a single
            channel: which themselves) are the averaged probabilities.

        Raises:
            TypeError: the model predicts no class probabilities.
        """
        views = _views(data)
        merged = self.module.test_step(views[0])
        totals = [_probabilities(sample) for sample in merged]
        for view in views[1:]:
            for total, sample in zip(totals, self.module.test_step(view), strict=True):
                total += _probabilities(sample)
        return [
            self._decide(sample, total / len(views))
            for sample, total in zip(merged, totals, strict=True)
        ]

    def merge_preds(self, data_samples_list: Sequence[Sequence[Any]]) -> list[Any]:
        """Average the predictions, already made, of each picture's views; else as test_step."""
        return [
            self._decide(views[0], torch.stack([_probabilities(view) for view in views]).mean(0))
            for views in data_samples_list
        ]

    def _decide(self, sample: Any, mean: Tensor) -> Any:
        if len(mean) > 1:
            logits = mean.clamp_min(torch.finfo(mean.dtype).tiny).log()
            classes = mean.argmax(0, keepdim=True)
        else:
            logits, classes = mean, (mean > self.module.decode_head.threshold).to(mean)
        return _as_original(
            sample, seg_logits=PixelData(data=logits), pred_sem_seg=PixelData(data=classes)
        )


def _views(data: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """A batch of views as one batch a view."""
    return [dict(zip(data, view, strict=True)) for view in zip(*data.values(), strict=True)]


def _upright_instances(view: Any) -> dict[str, Tensor]:
    """What was found in a view, its flip undone."""
    found = view.get("pred_instances")
    if found is None:
        raise TypeError(
            "test-time augmentation merges instances, and this model predicts no pred_instances "
            f"but {', '.join(view.keys())}"
        )
    fields = {name: found[name] for name in _INSTANCE_FIELDS if name in found}
    if view.metainfo.get("flip"):
        fields["bboxes"] = _flip_boxes(fields["bboxes"], view.ori_shape, view.flip_direction)
        if "masks" in fields:
            fields["masks"] = fields["masks"].flip(_FLIPPED_DIMS[view.flip_direction])
    return fields


def _flip_boxes(boxes: Tensor, shape: Sequence[int], direction: str) -> Tensor:
    """Flip (N, 4) boxes x1 y1 x2 y2 in a picture of ``shape`` (height, width)."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    height, width = shape[:2]
    if direction in ("horizontal", "diagonal"):
        x1, x2 = width - x2, width - x1
    if direction in ("vertical", "diagonal"):
        y1, y2 = height - y2, height - y1
    return torch.stack([x1, y1, x2, y2], dim=-1)


def _voters(fields: dict[str, Tensor], kept: Tensor, threshold: float) -> list[Tensor]:
    """For each kept box the indices of the boxes of its class that overlap it, itself included."""
    from torchvision.ops import box_iou  # slow to import

    boxes, labels = fields["bboxes"], fields["labels"]
    overlaps = box_iou(boxes[kept], boxes) > threshold
    overlaps &= labels[kept][:, None] == labels
    overlaps[torch.arange(len(kept)), kept] = True  # a box without area overlaps nothing
    return [row.nonzero()[:, 0] for row in overlaps]


def _vote(masks: Tensor, weights: Tensor) -> Tensor:
    """(H, W), where masks (N, H, W) holding more than half of the weights (N,) are set.

    Soft masks (mmdet's, 0 to 255, with a negative ``mask_thr_binary``) are averaged instead.
    """
    votes = torch.zeros(masks.shape[1:], dtype=weights.dtype, device=masks.device)
    for mask, weight in zip(masks, weights, strict=True):  # one map in memory, not N
        votes += weight * mask
    if masks.dtype == torch.bool:
        return votes > weights.sum() / 2
    return (votes / weights.sum()).round().to(masks.dtype)


def _probabilities(sample: Any) -> Tensor:
    """(classes, H, W), the probabilities that a segmentor gave."""
    if "seg_logits" not in sample:
        raise TypeError(
            "test-time augmentation averages class probabilities, and this model predicts no "
            f"seg_logits but {', '.join(sample.keys())}"
        )
    logits = sample.seg_logits.data
    # Of a single channel, mmseg has taken the sigmoid already.
    return logits.softmax(0) if len(logits) > 1 else logits.clone()


def _as_original(sample: Any, **merged: Any) -> Any:
    """``sample`` with the merged fields, which lie as the original picture does."""
    for name, value in merged.items():
        setattr(sample, name, value)
    sample.set_metainfo(_NO_FLIP)
    return sample
