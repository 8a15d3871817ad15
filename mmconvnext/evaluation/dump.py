"""Writing predictions to a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import DumpResults

_TOO_LARGE = ("seg_logits",)  # at 150 classes a picture's takes hundreds of megabytes


class DumpClassMaps(DumpResults):
    """mmengine's ``DumpResults`` for segmentors: class maps, without what they were made from."""

    def process(self, data_batch: Any, predictions: Sequence[dict[str, Any]]) -> None:
        """Keep a batch's predictions for the file."""
        kept = [
            {key: value for key, value in prediction.items() if key not in _TOO_LARGE}
            for prediction in predictions
        ]
        super().process(data_batch, kept)
