"""Convolution at chosen pixels only (guided anchoring): gather patches, scatter the results."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Write the patches of ``im`` (1, C, H, W) at the chosen output pixels into ``col``.

    ``mask_h_idx`` and ``mask_w_idx`` are (M,); ``col`` is (C * kernel_h * kernel_w, M). Beyond the
    picture is zero.
    """
    after_h, after_w = max(kernel_h - 1 - pad_h, 0), max(kernel_w - 1 - pad_w, 0)
    padded = F.pad(im[0], (pad_w, after_w, pad_h, after_h))
    rows = mask_h_idx + torch.arange(kernel_h, device=im.device)[:, None]
    columns = mask_w_idx + torch.arange(kernel_w, device=im.device)[:, None]
    col.copy_(padded[:, rows[:, None], columns[None]].reshape(col.shape))


def masked_col2im_forward(
    col: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    im: Tensor,
    height: int,
    width: int,
    channels: int,
) -> None:
    """Write the results ``col`` (C, M) to their pixels in ``im`` (1, C, H, W), and no others."""
    im[0, :, mask_h_idx, mask_w_idx] = col.to(im.dtype)


OPERATORS: tuple[Callable, ...] = (masked_im2col_forward, masked_col2im_forward)
