"""Top-1 and top-5 accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric
from torch import Tensor

from mmconvnext.registry import METRICS


@METRICS.register_module()
class TopAccuracy(BaseMetric):
    """How often the true class is among the k with the highest scores, in percent: ``topK``.

    Of equal scores that of the class with the lower number counts as higher, so that top-1 is what
    ``argmax`` finds. Scores that are not numbers are wrong. A k that is not below the number of
    classes is left out: it would say 100, whatever was predicted.

    Args:
        topk: the values of k, each at least 1.
        settings: mmengine's ``collect_device`` and ``prefix``.

    Raises:
        ValueError: ``topk`` is empty, or has something else.
    """

    default_prefix = "accuracy"

    def __init__(self, topk: Sequence[int] = (1, 5), **settings: Any) -> None:
        super().__init__(**settings)
        if not topk or any(k < 1 for k in topk):
            raise ValueError(f"topk: expected numbers of 1 and above, found {topk!r}")
        self.topk = tuple(topk)

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Note for each picture how many classes come before the true one, and how many there
        are."""
        for sample in data_samples:
            scores: Tensor = sample["pred_scores"]
            self.results.append((rank_of(scores, int(sample["gt_label"])), len(scores)))

    def compute_metrics(self, results: list[tuple[int, int]]) -> dict[str, float]:
        """The figures of all pictures."""
        classes = max(classes for _, classes in results)
        return {
            f"top{k}": 100 * sum(rank < k for rank, _ in results) / len(results)
            for k in self.topk
            if k < classes
        }


def rank_of(scores: Tensor, label: int) -> int:
    """How many of ``scores`` (classes,) come before that of ``label``."""
    true = scores[label]
    # "Not below" instead of "above", which is never said of NaN.
    return int((~(scores[:label] < true)).sum() + (~(scores[label + 1 :] <= true)).sum())
