"""Predictions painted over their picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmconvnext.inference.predictions import Detections, Segmentation
from mmconvnext.visualization.overlay import paint_classes, paint_objects


def paint(picture: np.ndarray, prediction: Detections | Segmentation) -> np.ndarray:
    """``picture``, (H, W, 3) uint8 RGB, with ``prediction`` painted over a copy of it."""
    if isinstance(prediction, Segmentation):
        names, palette = prediction.class_names, prediction.palette
        return paint_classes(picture, prediction.classes, names, palette)
    scored = zip(prediction.names, prediction.scores, strict=True)
    return paint_objects(
        picture,
        prediction.boxes,
        [f"{name} {score:.2f}" for name, score in scored],
        [prediction.palette[label] for label in prediction.labels],
        _Masks(prediction.rles or ()),
    )


class _Masks(Sequence[np.ndarray]):
    """Decoded when they are taken: all together may be gigabytes."""

    def __init__(self, rles: Sequence[Mapping[str, Any]]) -> None:
        self._rles = rles

    def __len__(self) -> int:
        return len(self._rles)

    def __getitem__(self, index: Any) -> Any:
        from pycocotools import mask as coder  # comes with mmdet

        return coder.decode(dict(self._rles[index])).astype(bool)
