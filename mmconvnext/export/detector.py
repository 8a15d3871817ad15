"""Mask R-CNN and Cascade Mask R-CNN (and both without masks) as one graph of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmconvnext.export.boxes import decode, suppress
from mmconvnext.export.rois import region_features
from mmconvnext.export.supported import stages


class DetectorGraph(nn.Module):
    """mmdet's two-stage detector for one picture, without its data samples.

    Args:
        model: with its weights, in evaluation mode; :func:`check_detector` has passed it.
        divisor: sides are padded to multiples of it.
    """

    def __init__(self, model: Any, divisor: int) -> None:
        super().__init__()
        self.model, self.divisor = model, divisor
        head = model.roi_head
        self.box_heads = stages(head.bbox_head)
        self.box_extractors = stages(head.bbox_roi_extractor)
        self.with_masks = head.with_mask
        self.mask_heads = stages(head.mask_head) if self.with_masks else []
        self.mask_extractors = stages(head.mask_roi_extractor) if self.with_masks else []

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what comes out."""
        return ("boxes", "scores", "labels", *(("masks",) if self.with_masks else ()))

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> tuple[Tensor, ...]:
        """Find objects.

        Args:
            x: (1, 3, H, W), normalised.
            size: height and width of the picture itself, where ``x`` was resized.

        Returns:
            boxes (n, 4) in the picture's pixels, scores (n,) and labels (n,) int64, the highest
            score first, and with masks (n, rows, columns), the probability of each cell of a box.
        """
        inner = (x.shape[2], x.shape[3])
        maps = self.model.extract_feat(self.padded(x))
        boxes, scores = self._classified(maps, self._proposals(maps, inner), inner)
        boxes, scores, labels = self._selected(boxes, scores)
        masks = (self._masks(maps, boxes, labels),) if self.with_masks else ()
        if size is not None:
            boxes = boxes * _ratios(size, inner, boxes)
        return boxes, scores, labels, *masks

    def padded(self, x: Tensor) -> Tensor:
        """Zeros at the lower right, as mmdet's data preprocessor adds them after normalising."""
        if self.divisor == 1:
            return x
        below, right = -x.shape[2] % self.divisor, -x.shape[3] % self.divisor
        return F.pad(x, (0, right, 0, below))

    def _proposals(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """(n, 4) boxes that may hold an object."""
        head = self.model.rpn_head
        cfg = head.test_cfg
        anchors = head.prior_generator.grid_priors(
            [m.shape[2:] for m in maps], device=maps[0].device
        )
        boxes: list[Tensor] = []
        scores: list[Tensor] = []
        levels: list[Tensor] = []
        for logits, deltas, around in zip(*head(maps), anchors, strict=True):
            score = logits[0].permute(1, 2, 0).flatten().sigmoid()
            delta = deltas[0].permute(1, 2, 0).reshape(-1, 4)
            score, best = score.topk(_fewer(cfg.nms_pre, score.shape[0]))
            boxes.append(decode(around[best], delta[best], head.bbox_coder, size)[:, 0])
            scores.append(score)
            levels.append(torch.full_like(best, len(levels)))
        found, order, level = torch.cat(boxes), torch.cat(scores), torch.cat(levels)
        least = cfg.get("min_bbox_size", -1)
        if least >= 0:
            kept = ((found[:, 2:] - found[:, :2]) > least).all(1).nonzero()[:, 0]
            found, order, level = found[kept], order[kept], level[kept]
        kept = suppress(found, order, level, overlap=cfg.nms.iou_threshold, at_most=cfg.max_per_img)
        return found[kept]

    def _classified(
        self, maps: Sequence[Tensor], boxes: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """(n, k, 4) boxes, one for each class or for all, and (n, classes) scores: the mean of all
        stages' logits, with the boxes refined from stage to stage (arXiv:1712.00726)."""
        total: Any = 0
        last = len(self.box_heads) - 1
        for stage, (head, extractor) in enumerate(
            zip(self.box_heads, self.box_extractors, strict=True)
        ):
            logits, deltas = head(region_features(extractor, maps, boxes))
            total = total + logits
            found = decode(boxes, deltas, head.bbox_coder, size)
            if stage < last:
                label = logits[:, :-1].argmax(1)
                boxes = _of_label(found, label)
        return found, (total / len(self.box_heads)).softmax(1)[:, :-1]

    def _selected(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        cfg = self.model.roi_head.test_cfg
        row, label = (scores > cfg.score_thr).nonzero().unbind(1)
        box, score = _of_label(boxes[row], label), scores[row, label]
        kept = suppress(box, score, label, overlap=cfg.nms.iou_threshold, at_most=cfg.max_per_img)
        return box[kept], score[kept], label[kept]

    def _masks(self, maps: Sequence[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        total: Any = 0
        for head, extractor in zip(self.mask_heads, self.mask_extractors, strict=True):
            found = head(region_features(extractor, maps, boxes)).sigmoid()
            total = total + _of_label(found, labels)
        return total / len(self.mask_heads)


def _of_label(x: Tensor, label: Tensor) -> Tensor:
    """(n, k, …) to (n, …): what belongs to each one's label; with k = 1 it belongs to all."""
    if x.shape[1] == 1:
        return x[:, 0]
    return x[torch.arange(x.shape[0], device=x.device), label]


def _ratios(size: tuple[int, int], inner: tuple[int, int], like: Tensor) -> Tensor:
    """(4,): what the coordinates of a box grow by."""
    outer, inside = (
        torch.stack([torch.scalar_tensor(side, dtype=like.dtype) for side in (width, height)])
        for height, width in (size, inner)
    )
    return (outer / inside).repeat(2).to(like.device)


def _fewer(count: int, there: int) -> Any:
    """So many at most; 0 and less mean all."""
    return torch.sym_min(count, there) if count > 0 else there
