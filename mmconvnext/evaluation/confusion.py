"""What was taken for what: objects matched by overlap, pixels counted."""

from __future__ import annotations

import numpy as np

IOU, SCORE = 0.5, 0.3


def match_boxes(
    truth: np.ndarray, labels: np.ndarray, found: np.ndarray, found_labels: np.ndarray
) -> list[tuple[int, int]]:
    """Pairs of a true and a found box that overlap with an IoU of at least :data:`IOU`.

    Each box is in at most one pair. Pairs of one class come first, then those of two, the closer
    before the looser: a wrong class beside the right one does not take its place.

    Args:
        truth: (n, 4) left, top, right, bottom.
        labels: (n,).
        found: (m, 4), likewise.
        found_labels: (m,).
    """
    overlaps = box_overlaps(truth, found)
    same = labels[:, None] == found_labels[None]
    rows, columns = np.nonzero(overlaps >= IOU)
    order = np.lexsort((-overlaps[rows, columns], ~same[rows, columns]))
    pairs: list[tuple[int, int]] = []
    taken: tuple[set[int], set[int]] = set(), set()
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in taken[0] and column not in taken[1]:
            taken[0].add(row)
            taken[1].add(column)
            pairs.append((row, column))
    return pairs


def box_overlaps(first: np.ndarray, second: np.ndarray, *, of_second: bool = False) -> np.ndarray:
    """(n, m) IoU of the boxes in (n, 4) and (m, 4); ``of_second``: intersection over the second."""
    corner = np.maximum(first[:, None, :2], second[None, :, :2])
    opposite = np.minimum(first[:, None, 2:], second[None, :, 2:])
    both = np.prod(np.clip(opposite - corner, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (first, second)]
    whole = areas[1][None] if of_second else areas[0][:, None] + areas[1][None] - both
    return both / np.maximum(whole, 1e-9)


def detection_confusion(
    truth: np.ndarray,
    labels: np.ndarray,
    found: np.ndarray,
    found_labels: np.ndarray,
    num_classes: int,
    ignored: np.ndarray | None = None,
) -> np.ndarray:
    """(num_classes + 1, num_classes + 1) counts of a picture's objects, rows true, columns found.

    The last row holds what was found where nothing is, the last column what was not found. What
    lies by half in an ``ignored`` box (k, 4), a crowd's, and matches nothing, is not counted.
    """
    confusion = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    pairs = match_boxes(truth, labels, found, found_labels)
    for row, column in pairs:
        confusion[labels[row], found_labels[column]] += 1
    matched = {row for row, _ in pairs}, {column for _, column in pairs}
    excused = np.zeros(len(found), bool)
    if ignored is not None and len(ignored):
        inside = box_overlaps(ignored, found, of_second=True) >= IOU
        excused = np.asarray(inside.any(axis=0))
    for row in set(range(len(truth))) - matched[0]:
        confusion[labels[row], num_classes] += 1
    for column in set(range(len(found))) - matched[1]:
        if not excused[column]:
            confusion[num_classes, found_labels[column]] += 1
    return confusion


def pixel_confusion(
    truth: np.ndarray, predicted: np.ndarray, num_classes: int, ignore_index: int = 255
) -> np.ndarray:
    """(num_classes, num_classes) counts of pixels, rows true, columns predicted; pixels that are
    ``ignore_index`` or no class count nowhere."""
    truth, predicted = truth.astype(np.int64).ravel(), predicted.astype(np.int64).ravel()
    there = (truth != ignore_index) & (truth >= 0) & (truth < num_classes)
    there &= (predicted >= 0) & (predicted < num_classes)
    cells = truth[there] * num_classes + predicted[there]
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def f1_of(confusion: np.ndarray) -> float | None:
    """2 TP / (2 TP + FP + FN) of a detection confusion; None: nothing true, nothing found."""
    hits = int(np.trace(confusion[:-1, :-1]))
    total = int(confusion[:-1].sum() + confusion[:, :-1].sum())  # truths and findings
    return 2 * hits / total if total else None


def class_ious(confusion: np.ndarray) -> np.ndarray:
    """(num_classes,) IoU of a pixel confusion; NaN for a class neither true nor predicted."""
    both = np.diag(confusion).astype(float)
    union = confusion.sum(0) + confusion.sum(1) - both
    return np.divide(both, union, out=np.full(len(both), np.nan), where=union > 0)
