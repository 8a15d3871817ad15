"""mmseg's mIoU metric, counting with one histogram a picture instead of three."""

from __future__ import annotations

import torch
from mmseg.evaluation.metrics import IoUMetric
from torch import Tensor

from mmconvnext.registry import METRICS


@METRICS.register_module()
class FastIoUMetric(IoUMetric):
    """mmseg's ``IoUMetric``: the same arguments, figures and names of figures.

    A picture leaves the same four rows of single-precision counts as with mmseg's: summed up in the
    same order they give the same figures, to the last bit.
    """

    @staticmethod
    def intersect_and_union(
        pred_label: Tensor, label: Tensor, num_classes: int, ignore_index: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Count a picture's pixels by class.

        Args:
            pred_label: (H, W), the predicted classes; others than 0…num_classes-1 count nowhere.
            label: (H, W), the true ones, of the same type; the same holds.
            num_classes: number of classes.
            ignore_index: where ``label`` is this, the pixel counts nowhere.

        Returns:
            (num_classes,) each, on the CPU: pixels where both are the class, where one of them is,
            where it is predicted, where it is true.
        """
        predicted, true = pred_label.long(), label.long()
        if num_classes < 2 or not _whole(pred_label, predicted) or not _whole(label, true):
            # histc takes its range from the data, and has bins for fractions: as mmseg, then.
            return IoUMetric.intersect_and_union(pred_label, label, num_classes, ignore_index)
        side = num_classes + 1  # one more, for other numbers
        pairs = _counted(true, num_classes).mul(side).add_(_counted(predicted, num_classes))
        pairs.masked_fill_(label == ignore_index, side**2)
        counts = torch.bincount(pairs.flatten(), minlength=side**2 + 1)[: side**2]
        confusion = counts.view(side, side).cpu()
        both = confusion.diagonal()[:num_classes].float()
        of_prediction = confusion.sum(0)[:num_classes].float()
        of_truth = confusion.sum(1)[:num_classes].float()
        return both, of_prediction + of_truth - both, of_prediction, of_truth


def _whole(values: Tensor, rounded: Tensor) -> bool:
    return not values.is_floating_point() or bool((values == rounded).all())


def _counted(values: Tensor, num_classes: int) -> Tensor:
    """``values`` with what is no class replaced by ``num_classes``."""
    if not values.numel():
        return values
    low, high = values.aminmax()
    if low >= 0 and high <= num_classes:
        return values
    return values.masked_fill((values < 0) | (values > num_classes), num_classes)
