"""Pictures in memory: each moved once, by OpenCV, which is faster at it than numpy's strides."""

from __future__ import annotations

import cv2
import numpy as np
import torch

_FLIP_CODES = {(0,): 0, (1,): 1, (0, 1): -1}  # flipped axes -> cv2.flip's number


def forwards(array: np.ndarray) -> np.ndarray:
    """``array`` itself, unless it runs backwards along its rows or columns: then a copy.

    mmcv flips by negative strides. Whatever reads such a picture next copies it a pixel at a time.

    Args:
        array: shape ``(height, width)`` or ``(height, width, channels)``.
    """
    axes = tuple(axis for axis in (0, 1) if array.strides[axis] < 0)
    if not axes or array.size == 0:
        return array
    flipped: np.ndarray = cv2.flip(np.flip(array, axes), _FLIP_CODES[axes])
    return flipped


def channels_first(picture: np.ndarray) -> torch.Tensor:
    """A contiguous copy of ``picture``, of shape ``(channels, height, width)``.

    Args:
        picture: shape ``(height, width, channels)``, of a type that OpenCV knows.
    """
    height, width, channels = picture.shape
    planes = np.empty((channels, height, width), picture.dtype)
    cv2.split(forwards(picture), list(planes))
    return torch.from_numpy(planes)
