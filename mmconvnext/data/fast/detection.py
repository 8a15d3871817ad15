"""mmdet's steps with the same names, arguments, random numbers and results, in less time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pycocotools.mask as coco_mask
from mmdet.datasets import transforms as mmdet_steps

from mmconvnext.data.fast.arrays import channels_first, forwards
from mmconvnext.data.fast.masks import DrawnLater
from mmconvnext.data.fast.run_lengths import RunLengths

Results = dict[str, Any]


class LoadAnnotations(mmdet_steps.LoadAnnotations):
    """mmdet's, with masks that are not drawn before they are needed.

    With ``poly2mask=False`` it is mmdet's: those masks are polygons.
    """

    def _load_masks(self, results: Results) -> None:
        if not self.poly2mask:
            super()._load_masks(results)
            return
        height, width = results["ori_shape"]
        outlines = [_run_lengths(mask, height, width) for mask in self._process_masks(results)]
        results["gt_masks"] = DrawnLater.as_annotated(outlines, height, width)


def _run_lengths(mask: list[Any] | RunLengths, height: int, width: int) -> RunLengths:
    """Compressed run lengths of an annotated mask: parts of polygons or run lengths of any kind."""
    if isinstance(mask, list):
        parts = coco_mask.frPyObjects(mask, height, width)
        merged: RunLengths = coco_mask.merge(parts)
        return merged
    if isinstance(mask["counts"], list):
        compressed: RunLengths = coco_mask.frPyObjects(mask, height, width)
        return compressed
    return mask


class RandomFlip(mmdet_steps.RandomFlip):
    """mmdet's; the picture is moved once instead of read backwards by the next step."""

    def _flip(self, results: Results) -> None:
        super()._flip(results)
        results["img"] = forwards(results["img"])


class PackDetInputs(mmdet_steps.PackDetInputs):
    """mmdet's; the picture is split into channels by OpenCV."""

    def transform(self, results: Results) -> Results:
        """See mmdet's."""
        picture = results.get("img")
        if not isinstance(picture, np.ndarray) or picture.ndim != 3:
            packed: Results = super().transform(results)
            return packed
        rest = {key: value for key, value in results.items() if key != "img"}
        return {"inputs": channels_first(picture), **super().transform(rest)}
