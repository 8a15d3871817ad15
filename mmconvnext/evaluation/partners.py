"""Which detections of two sides are of the same object."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torchvision.ops import box_iou


def partners(found: Any, expected: Any, overlap: float) -> list[tuple[int, int]]:
    """Indices of the detections that are on both sides, one partner each, best overlaps first.

    Args:
        found: ``bboxes`` (n, 4) in pixels and ``labels`` (n,), mmdet's ``pred_instances`` are such.
        expected: the other side's.
        overlap: least IoU of partners, whose labels are equal, above 0.
    """
    overlaps: Tensor = box_iou(found.bboxes, expected.bboxes)
    overlaps[found.labels[:, None] != expected.labels] = 0
    pairs: list[tuple[int, int]] = []
    while overlaps.numel() and overlaps.max() >= overlap:
        row, column = divmod(int(overlaps.argmax()), overlaps.shape[1])
        overlaps[row], overlaps[:, column] = 0, 0
        pairs.append((row, column))
    return pairs
