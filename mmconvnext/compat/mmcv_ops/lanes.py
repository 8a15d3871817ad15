"""Non-maximum suppression of traffic lanes, in PyTorch: onedl-mmcv has it, for its CLRNet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmconvnext.compat.mmcv_ops.precision import widen

_ROWS = 72  # of the picture, at which a lane's x are given
_START, _LENGTH, _FIRST = 2, 4, 5  # columns: where it starts (0 to 1), in how many rows, first x


def line_nms_forward(
    boxes: Tensor, scores: Tensor, thresh: float, top_k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Keep the best lanes: one goes if it is near a kept one (Tabelini et al., LaneATT, 2021).

    Near: over the rows that both have, their x are less than ``thresh`` apart on average. Lanes
    without a common row are not near. onedl-mmcv's kernel expects the lanes by falling score, and
    compares others where they are not; here they may come in any order.

    Args:
        boxes: (N, 77); column 2 is the row at which the lane starts, over 71, column 4 in how many
            rows it is, and the last 72 its x in each row.
        scores: (N,).
        thresh: in the unit of x.
        top_k: how many are kept at most.

    Returns:
        Indices (N,) of the K kept lanes by falling score, followed by zeros; K; and for each lane
        which kept one, counted from 1, it went for, the last if for several, 0 if for none.
    """
    lanes = widen(boxes)
    order = scores.argsort(descending=True, stable=True)
    lanes = lanes[order]
    kept: list[int] = []
    alive = torch.ones(len(order), dtype=torch.bool, device=boxes.device)
    went_for = torch.zeros_like(order)
    for place in range(len(order)):
        if len(kept) == top_k:
            break
        if not alive[place]:
            continue
        kept.append(place)
        near = _near(lanes[place], lanes[place:], thresh)
        near[0] = True
        alive[place:] &= ~near
        went_for[order[place:][near]] = len(kept)
    indices = torch.zeros_like(order)
    indices[: len(kept)] = order[kept]
    return indices, torch.tensor(len(kept), device=boxes.device), went_for


def _near(lane: Tensor, others: Tensor, thresh: float) -> Tensor:
    """Whether each of ``others`` (N, 77) is near ``lane`` (77,)."""
    first, last = zip(_rows(lane), _rows(others), strict=True)
    start, end = torch.maximum(*first), torch.minimum(*last).clamp(max=_ROWS - 1)
    row = torch.arange(_ROWS, device=lane.device)
    common = (row >= start[:, None]) & (row <= end[:, None])
    apart = (lane[_FIRST:] - others[:, _FIRST:]).abs()
    distance = torch.where(common, apart, 0).sum(dim=1)
    return (end >= start) & (start >= 0) & (distance < thresh * (end - start + 1))


def _rows(lanes: Tensor) -> tuple[Tensor, Tensor]:
    """First and last row of each lane."""
    start = (lanes[..., _START] * (_ROWS - 1) + 0.5).long()
    return start, start + lanes[..., _LENGTH].long() - 1


OPERATORS: tuple[Callable[..., Any], ...] = (line_nms_forward,)
