"""Predictions painted over their picture."""

from __future__ import annotations

from collections.abc import Iterator

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
        _masks(prediction),
    )


def _masks(prediction: Detections) -> Iterator[np.ndarray]:
    """One by one: all together may take gigabytes."""
    from pycocotools import mask as coder  # comes with mmdet

    for rle in prediction.rles or ():
        yield coder.decode(dict(rle)).astype(bool)
