"""Non-maximum suppression: hard on torchvision's kernel, soft and matching in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torchvision
from torch import Tensor

from mmconvnext.compat.mmcv_ops.precision import widen

LINEAR, GAUSSIAN = 1, 2  # mmcv's numbers of the methods; 0 is naive


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return the indices (K,) of the kept boxes, by falling score; equal scores keep their order.

    A box goes if its IoU with a kept one is greater than ``iou_threshold``.

    Args:
        boxes: (N, 4), x1 y1 x2 y2, in pixels.
        scores: (N,).
        iou_threshold: in [0, 1].
        offset: 0, or 1 where x2 and y2 belong to the box (width is ``x2 - x1 + 1``).
    """
    boxes = widen(boxes)
    if offset:
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    # Compared in the boxes' precision, as mmcv does: an IoU of 3/10 is not greater than a threshold
    # of 0.3.
    threshold = torch.tensor(iou_threshold, dtype=boxes.dtype).item()
    return torchvision.ops.nms(boxes, scores.to(boxes.dtype), threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Lower the scores of boxes that overlap better ones (Bodla et al., Soft-NMS, 2017).

    The best box is taken, the others' scores are multiplied by 0 (naive) or 1 - IoU (linear) where
    the IoU reaches ``iou_threshold``, or by exp(-IoU² / ``sigma``) (gaussian), those below
    ``min_score`` go, and so on.

    Args:
        boxes: (N, 4), x1 y1 x2 y2, in pixels.
        scores: (N,).
        dets: (N, 5), receives the K kept boxes and their new scores in the order of picking.
        iou_threshold: in [0, 1].
        sigma: of the gaussian.
        min_score: boxes whose score has fallen below it are dropped.
        method: 0 naive, 1 linear, 2 gaussian.
        offset: added to widths and heights, 0 or 1.

    Returns:
        The indices (K,) of the kept boxes, in the order of picking.
    """
    wide = widen(boxes)
    pool = torch.cat([wide, scores.to(wide.dtype)[:, None]], dim=1)
    indices = torch.arange(len(pool), device=boxes.device)
    picked, kept = [], []
    while len(pool):
        best = int(pool[:, 4].argmax())
        # The first box takes the best one's place: mmcv's order, by which equal scores are picked.
        pool[[0, best]], indices[[0, best]] = pool[[best, 0]], indices[[best, 0]]
        box, pool = pool[0], pool[1:]
        picked.append(box)
        kept.append(indices[0])
        pool[:, 4] *= _soft_weight(_iou(box, pool, offset), iou_threshold, sigma, method)
        order = _drop_by_swapping(pool[:, 4] >= min_score)
        pool, indices = pool[order], indices[1:][order]
    if not picked:
        return indices
    dets[: len(picked)] = torch.stack(picked)
    return torch.stack(kept)


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Return groups of indices: each kept box, by falling score, and then those it suppresses.

    Other than in :func:`nms` an IoU equal to ``iou_threshold`` suppresses.

    Args:
        dets: (N, 5), x1 y1 x2 y2 score.
        iou_threshold: in [0, 1].
    """
    dets = widen(dets)
    indices = dets[:, 4].argsort(descending=True, stable=True)
    groups = []
    while len(indices):
        group = _iou(dets[indices[0]], dets[indices], offset=0) >= iou_threshold
        group[0] = True  # a box of zero size does not even overlap itself
        groups.append(indices[group].tolist())
        indices = indices[~group]
    return groups


def _iou(box: Tensor, others: Tensor, offset: int) -> Tensor:
    """IoU of ``box`` (4+,) with ``others`` (N, 4+); 0 where both have no area."""
    corner = torch.minimum(box[2:4], others[:, 2:4]) - torch.maximum(box[:2], others[:, :2])
    inter = (corner + offset).clamp(min=0).prod(dim=1)
    areas = (others[:, 2:4] - others[:, :2] + offset).prod(dim=1)
    union = (box[2:4] - box[:2] + offset).prod() + areas - inter
    return torch.where(union == 0, 0.0, inter / union)


def _soft_weight(iou: Tensor, iou_threshold: float, sigma: float, method: int) -> Tensor:
    if method == GAUSSIAN:
        return torch.exp(-(iou * iou) / sigma)
    lowered = 1 - iou if method == LINEAR else torch.zeros_like(iou)
    return torch.where(iou >= iou_threshold, lowered, 1.0)


def _drop_by_swapping(keep: Tensor) -> Tensor:
    """Order that results if, from the front, each dropped item is replaced by the last one left.

    mmcv drops so; the order decides which one of equally good boxes is picked first.
    """
    count = int(keep.sum())
    order = torch.arange(count, device=keep.device)
    order[~keep[:count]] = keep[count:].nonzero().flatten().flip(0) + count
    return order


OPERATORS: tuple[Callable[..., Any], ...] = (nms, softnms, nms_match)
