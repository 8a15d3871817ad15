"""What was found in a picture, as plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmconvnext.evaluation.mask_coding import encode_masks
from mmconvnext.inference.legend import Legend
from mmconvnext.visualization.grid import Color


@dataclasses.dataclass(frozen=True, eq=False)
class Detections:
    """The objects found in one picture.

    Args:
        boxes: (N, 4) float32; left, top, right, bottom in the picture's pixels.
        scores: (N,) float32, 0 to 1.
        labels: (N,) int64, indices into ``class_names`` and ``palette``.
        class_names: of all classes.
        palette: RGB colours of all classes, 0 to 255.
        size: height and width of the picture in pixels.
        rles: COCO's compressed run lengths of N masks; None: the model finds no masks.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    palette: tuple[Color, ...]
    size: tuple[int, int]
    rles: tuple[Mapping[str, Any], ...] | None = None

    def __len__(self) -> int:
        """How many there are."""
        return len(self.scores)

    @property
    def names(self) -> list[str]:
        """The class name of each."""
        return [self.class_names[label] for label in self.labels]

    @property
    def masks(self) -> np.ndarray | None:
        """(N, H, W) bool, decoded anew at each access; None: the model finds no masks."""
        if self.rles is None:
            return None
        from pycocotools import mask as coder  # comes with mmdet

        masks = np.zeros((len(self), *self.size), bool)
        for mask, rle in zip(masks, self.rles, strict=True):
            mask[:] = coder.decode(dict(rle))
        return masks


@dataclasses.dataclass(frozen=True, eq=False)
class Segmentation:
    """The class of each pixel of one picture.

    Args:
        classes: (H, W) int32, indices into ``class_names`` and ``palette``.
        class_names: of all classes.
        palette: RGB colours of all classes, 0 to 255.
    """

    classes: np.ndarray
    class_names: tuple[str, ...]
    palette: tuple[Color, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture in pixels."""
        height, width = self.classes.shape
        return height, width


def detections_of(
    sample: Any, legend: Legend, size: tuple[int, int], threshold: float
) -> Detections:
    """The objects in an mmdet sample with ``pred_instances`` whose score is at least
    ``threshold``.

    Raises:
        ValueError: its boxes are not of four numbers.
    """
    found = sample.pred_instances
    found = found[found.scores >= threshold]
    boxes = getattr(found.bboxes, "tensor", found.bboxes).detach().cpu().float().numpy()
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes: expected (N, 4), found {boxes.shape}; rotated ones are unknown")
    rles = tuple(encode_masks(found.masks)) if "masks" in found else None
    if rles and not boxes.any():  # detectors that find masks alone put zeros there
        boxes = _around(rles)
    return Detections(
        boxes=boxes,
        scores=found.scores.detach().cpu().float().numpy(),
        labels=found.labels.detach().cpu().long().numpy(),
        class_names=legend.classes,
        palette=legend.palette,
        size=size,
        rles=rles,
    )


def segmentation_of(sample: Any, legend: Legend) -> Segmentation:
    """The map in an mmseg sample with ``pred_sem_seg``."""
    classes = sample.pred_sem_seg.data[0].detach().cpu().numpy().astype(np.int32)
    return Segmentation(classes, legend.classes, legend.palette)


def _around(rles: tuple[Mapping[str, Any], ...]) -> np.ndarray:
    from pycocotools import mask as coder

    boxes: np.ndarray = coder.toBbox(list(rles)).astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    return boxes
