"""How many objects a detector's proposals reach, whatever their class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmdet.evaluation.functional import bbox_overlaps


def proposal_recalls(
    truth: Sequence[np.ndarray],
    proposals: Sequence[np.ndarray],
    counts: Sequence[int],
    thresholds: np.ndarray,
) -> np.ndarray:
    """mmdet's ``eval_recalls``, averaged over the thresholds.

    mmdet's own needs a NumPy before 1.24 unless all pictures have equally many boxes.

    Args:
        truth: each picture's objects, (N, 4) x1 y1 x2 y2.
        proposals: each picture's proposals, (M, 4), best first.
        counts: how many proposals a picture are looked at, rising.
        thresholds: the overlaps from which an object counts as found.

    Returns:
        (counts,), the share of all objects that is found; NaN without objects.
    """
    reached: list[list[np.ndarray]] = [[] for _ in counts]
    for objects, boxes in zip(truth, proposals, strict=True):
        overlaps = bbox_overlaps(objects, boxes[: counts[-1]])
        for of_count, count in zip(reached, counts, strict=True):
            of_count.append(_reached(overlaps[:, :count]))
    overlaps = np.stack([np.concatenate(of_count) for of_count in reached])
    if not overlaps.size:
        return np.full(len(counts), np.nan)
    found = (overlaps[:, None] >= np.asarray(thresholds)[:, None]).mean(axis=2)
    return found.mean(axis=1)


def _reached(overlaps: np.ndarray) -> np.ndarray:
    """(N,), each object's overlap with its own proposal, of (N, M); the best pairs choose first."""
    left = overlaps.copy()
    best = np.zeros(len(overlaps), overlaps.dtype)
    for _ in range(min(overlaps.shape)):
        row, column = np.unravel_index(left.argmax(), left.shape)
        best[row] = overlaps[row, column]
        left[row], left[:, column] = -1, -1
    return best
