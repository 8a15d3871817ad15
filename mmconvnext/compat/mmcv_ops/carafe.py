"""CARAFE, content-aware upsampling: an output pixel is a weighted sum over a patch of the input.

With the ``scale`` squared output pixels of an input pixel taken together it is a small matrix
product, (scale squared, k*k) by (k*k, channels), and so are both gradients. All patches take k*k
times the input's memory, so they are made for a few rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmconvnext.compat.mmcv_ops.precision import widen

# Elements of patches that exist at one time: 64 MiB in float32.
PATCH_ELEMENTS = 2**24


class _Rows(NamedTuple):
    """The input rows ``start`` to ``stop``, and how their tensors turn into matrices and back.

    P below is the number of matrices: N * groups * rows * W.
    """

    start: int
    stop: int
    kernel: int
    groups: int
    scale: int

    def patches(self, padded: Tensor) -> Tensor:
        """Copy the patches of ``padded`` (N, C, H + k - 1, W + k - 1) to (P, k*k, C / groups)."""
        rows = padded[:, :, self.start : self.stop + self.kernel - 1]
        windows = rows.unfold(2, self.kernel, 1).unfold(3, self.kernel, 1)
        grouped = windows.unflatten(1, (self.groups, -1)).permute(0, 1, 3, 4, 5, 6, 2)
        return grouped.reshape(-1, self.kernel**2, grouped.size(-1))

    def add_patches(self, padded: Tensor, patches: Tensor) -> None:
        """Add (P, k*k, C / groups) to the places in ``padded`` that :meth:`patches` reads."""
        rows, width = self.stop - self.start, padded.size(3) - self.kernel + 1
        shape = (padded.size(0), self.groups, rows, width, self.kernel, self.kernel, -1)
        shares = patches.view(shape).permute(4, 5, 0, 1, 6, 2, 3).flatten(3, 4)
        for i in range(self.kernel):
            for j in range(self.kernel):
                top = self.start + i
                padded[:, :, top : top + rows, j : j + width] += shares[i, j]

    def pixels(self, upsampled: Tensor) -> Tensor:
        """View (N, groups * K, H * scale, W * scale) as (N, groups, rows, W, scale, scale, K)."""
        rows = upsampled[:, :, self.start * self.scale : self.stop * self.scale]
        split = rows.unflatten(3, (-1, self.scale)).unflatten(2, (-1, self.scale))
        return split.unflatten(1, (self.groups, -1)).permute(0, 1, 3, 5, 4, 6, 2)

    def matrices(self, upsampled: Tensor) -> Tensor:
        """Copy :meth:`pixels` to (P, scale * scale, K)."""
        pixels = self.pixels(upsampled)
        return pixels.reshape(-1, self.scale**2, pixels.size(-1))


def _parts(features: Tensor, kernel: int, groups: int, scale: int) -> Iterator[_Rows]:
    batch, channels, height, width = features.shape
    if not features.numel():
        return
    step = max(1, PATCH_ELEMENTS // (batch * channels * width * kernel**2))
    for start in range(0, height, step):
        yield _Rows(start, min(start + step, height), kernel, groups, scale)


def _pad(features: Tensor, kernel: int) -> Tensor:
    """Zeros around the features; channels last, the order in which patches are read."""
    padded = F.pad(features, (kernel // 2,) * 4)
    return padded.contiguous(memory_format=torch.channels_last)


def carafe_naive_forward(
    features: Tensor,
    masks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the upsampled ``features`` (N, C, H, W) into ``output`` (N, C, H * scale, W * scale).

    ``masks`` is (N, group_size * kernel_size ** 2, H * scale, W * scale).
    """
    dtype = torch.promote_types(features.dtype, masks.dtype)
    padded = _pad(features.to(dtype), kernel_size)
    with torch.autocast(features.device.type, enabled=False):
        for part in _parts(features, kernel_size, group_size, scale_factor):
            product = part.matrices(masks).to(dtype) @ part.patches(padded)
            target = part.pixels(output)
            target.copy_(product.view(target.shape))


def carafe_naive_backward(
    top_grad: Tensor,
    features: Tensor,
    masks: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the gradients of ``features`` and ``masks`` into ``bottom_grad`` and ``mask_grad``."""
    dtype = torch.promote_types(features.dtype, masks.dtype)
    padded = _pad(features.to(dtype), kernel_size)
    # k*k overlapping patches are summed up: too many terms for half precision.
    padded_grad = torch.zeros_like(widen(padded))
    with torch.autocast(features.device.type, enabled=False):
        for part in _parts(features, kernel_size, group_size, scale_factor):
            grad = part.matrices(top_grad).to(dtype)
            target = part.pixels(mask_grad)
            target.copy_((grad @ part.patches(padded).mT).view(target.shape))
            part.add_patches(padded_grad, part.matrices(masks).to(dtype).mT @ grad)
    half = kernel_size // 2
    bottom_grad.copy_(
        padded_grad[:, :, half : half + features.size(2), half : half + features.size(3)]
    )


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Do as :func:`carafe_naive_forward`; mmcv gives ``rfeatures`` to backward as the features."""
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, kernel_size, group_size, scale_factor)


def carafe_backward(
    top_grad: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rtop_grad: Tensor,
    rbottom_grad_hs: Tensor,
    rbottom_grad: Tensor,
    rmask_grad: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Do as :func:`carafe_naive_backward`; the ``r*_grad`` tensors are unused work space."""
    carafe_naive_backward(
        top_grad, rfeatures, masks, bottom_grad, mask_grad, kernel_size, group_size, scale_factor
    )


OPERATORS: tuple[Callable, ...] = (
    carafe_naive_forward,
    carafe_naive_backward,
    carafe_forward,
    carafe_backward,
)
