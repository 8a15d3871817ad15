"""The precision in which operators calculate."""

from __future__ import annotations

import torch
from torch import Tensor


def widen(tensor: Tensor) -> Tensor:
    """Return ``tensor`` in fp32, or as it is if it has fp64.

    Half precision holds no coordinates of some hundred pixels and no long sums, and not all of
    torchvision's kernels take it; mmcv's results are rounded back only when they are written into
    its output tensors.
    """
    return tensor if tensor.dtype == torch.float64 else tensor.float()
