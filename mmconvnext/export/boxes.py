"""Boxes in an exported detector: what mmdet computes, in operators that every runtime has.

Boxes are (n, 4): left, top, right, bottom in pixels.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import nms

_LEAST_RATIO = 16 / 1000  # by which mmdet's coder bounds how much a box may grow or shrink


def decode(boxes: Tensor, deltas: Tensor, coder: Any, size: tuple[int, int]) -> Tensor:
    """The boxes that a head means by its ``deltas`` (R-CNN, arXiv:1311.2524, appendix C).

    Args:
        boxes: (n, 4) that the deltas refer to.
        deltas: (n, k * 4), k boxes for each.
        coder: mmdet's ``DeltaXYWHBBoxCoder``, for its means, its deviations, and whether it clips.
        size: height and width of the picture, to which boxes are clipped.

    Returns:
        (n, k, 4)
    """
    means, stds = boxes.new_tensor(coder.means), boxes.new_tensor(coder.stds)
    deltas = deltas.unflatten(1, (-1, 4)) * stds + means
    most = abs(math.log(_LEAST_RATIO))
    corner, opposite = boxes[:, None, :2], boxes[:, None, 2:]
    extent = opposite - corner
    center = (corner + opposite) * 0.5 + extent * deltas[..., :2]
    half = extent * deltas[..., 2:].clamp(-most, most).exp() * 0.5
    found = torch.cat([center - half, center + half], dim=2)
    return clip(found, size) if coder.clip_border else found


def clip(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """``boxes`` (…, 4) cut off at the border of a picture of this height and width."""
    height, width = size
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return torch.stack([x, y], dim=-1).flatten(-2)


def suppress(
    boxes: Tensor, scores: Tensor, groups: Tensor, *, overlap: float, at_most: int
) -> Tensor:
    """Non-maximum suppression inside each group.

    Args:
        boxes: (n, 4)
        scores: (n,)
        groups: (n,) integers; boxes of two groups leave each other alone.
        overlap: IoU above which the lower of two scores goes.
        at_most: how many stay, at most.

    Returns:
        Indices of those that stay, the highest score first.
    """
    # torchvision tells torch.export that at least two stay. So two come along that nothing overlaps
    # and whose scores are the lowest; they are the last of those that stay.
    boxes = torch.cat([boxes, boxes.new_zeros(2, 4)])
    scores, groups = (torch.cat([x, x.new_full((2,), -1)]) for x in (scores, groups))
    # Each group moved to a place of its own, as mmcv does: the operator knows no groups.
    apart = groups.clamp(min=0).to(boxes.dtype)[:, None] * (boxes.max() + 1)
    return nms(boxes + apart, scores, overlap)[:-2][:at_most]
