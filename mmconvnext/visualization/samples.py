"""A data set's labels painted over its pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmconvnext.data.samples import Sample
from mmconvnext.visualization.overlay import Color, paint_classes, paint_objects

IGNORED = "ignored"
_GREY = (128, 128, 128)


def paint_sample(sample: Sample, classes: Sequence[str], palette: Sequence[Color]) -> np.ndarray:
    """A copy of the sample's picture, (H, W, 3) uint8 RGB, with its objects or classes.

    Args:
        sample: objects to be ignored are grey, pixels to be ignored stay as they are.
        classes: names, by label.
        palette: RGB colours 0 to 255, by label.
    """
    if sample.classes is not None:
        return paint_classes(sample.picture, sample.classes, classes, palette)
    labels = sample.labels.tolist()
    return paint_objects(
        sample.picture,
        sample.boxes,
        [classes[label] if label >= 0 else IGNORED for label in labels],
        [palette[label] if label >= 0 else _GREY for label in labels],
        () if sample.masks is None else list(sample.masks),
    )
