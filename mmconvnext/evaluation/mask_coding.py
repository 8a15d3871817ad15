"""Masks as run lengths: a thousandth of the bitmap's bytes, and what COCO's evaluation takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

_ROWS = 128  # turned over at a time: with them, what is read and written stays in the caches


def encode_masks(masks: Tensor | np.ndarray) -> list[dict[str, Any]]:
    """Encode bitmaps one by one, with no more in memory than one beside them.

    Run lengths go down the columns, and pycocotools wants its bitmap in that order. Turning it over
    takes most of the time; in strips it takes half.

    Args:
        masks: (N, H, W), boolean or 0 and 1, on any device.

    Returns:
        N dicts ``size`` (H, W), one list for all, and ``counts``, COCO's compressed run lengths.

    Raises:
        ValueError: the shape is another.
    """
    from pycocotools import mask as rle  # comes with mmdet

    if masks.ndim != 3:
        raise ValueError(
            f"masks: expected (N, H, W), found the shape {tuple(masks.shape)}; stack bitmaps first"
        )
    bitmaps = masks.detach().cpu().numpy() if isinstance(masks, Tensor) else masks
    bitmaps = bitmaps.view(np.uint8) if bitmaps.dtype == bool else bitmaps.astype(np.uint8)
    _, height, width = bitmaps.shape
    turned = np.empty((width, height), np.uint8)
    size = [height, width]
    coded = []
    for bitmap in bitmaps:
        for top in range(0, height, _ROWS):
            turned[:, top : top + _ROWS] = bitmap[top : top + _ROWS].T
        coded.append({"size": size, "counts": rle.encode(turned.T[:, :, None])[0]["counts"]})
    return coded


class PackedMasks(Sequence[dict[str, Any]]):
    """Coded masks of one picture, side by side in one buffer: what they take is their run lengths.

    A dict and two objects a mask would be several times that. Reads as the list it was made from;
    each mask is a dict of its own, made when it is read.

    Args:
        masks: dicts ``size`` and ``counts`` (COCO's compressed run lengths), all of one size.
    """

    def __init__(self, masks: Sequence[dict[str, Any]]) -> None:
        self._size = list(masks[0]["size"]) if masks else []
        counts = [mask["counts"] for mask in masks]
        coded = [each.encode() if isinstance(each, str) else each for each in counts]
        self._counts = b"".join(coded)
        self._ends = np.cumsum([0, *map(len, coded)], dtype=np.uint32)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        start, end = self._ends[place : place + 2].tolist()
        return {"size": self._size, "counts": self._counts[start:end]}
