"""Multi-scale deformable attention in plain PyTorch, one feature level at a time.

mmcv's own fallback samples all levels before it weighs them; for the encoder of a detector at full
picture size that takes gigabytes. Here only one level's samples exist at a time, and the backward
pass makes them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from mmconvnext.compat.mmcv_ops.precision import widen


def _attend_level(value: Tensor, locations: Tensor, weights: Tensor, size: list[int]) -> Tensor:
    """Sample one level and sum over the points.

    Args:
        value: (N, H*W, heads, channels) with ``size`` (H, W).
        locations: (N, queries, heads, points, 2), (x, y) with 0 and 1 at the outer edges of the
            level. weights: (N, queries, heads, points).

    Returns:
        (N, queries, heads, channels).
    """
    batch, _, heads, channels = value.shape
    queries, points = locations.shape[1], locations.shape[3]
    image = value.permute(0, 2, 3, 1).reshape(batch * heads, channels, *size)
    grid = (2 * locations - 1).transpose(1, 2).reshape(batch * heads, queries, points, 2)
    sampled = F.grid_sample(image, grid, align_corners=False)
    weights = weights.transpose(1, 2).reshape(batch * heads, 1, queries, points)
    attended = (sampled * weights).sum(-1)
    return attended.view(batch, heads, channels, queries).permute(0, 3, 1, 2)


def _levels(
    value: Tensor, spatial_shapes: Tensor, level_start_index: Tensor
) -> Iterator[tuple[int, slice, list[int]]]:
    """Number, place among the keys and size (H, W) of each level that is not empty."""
    starts = level_start_index.tolist()
    for level, (start, size) in enumerate(zip(starts, spatial_shapes.tolist(), strict=True)):
        if value.numel() and size[0] * size[1]:
            yield level, slice(start, start + size[0] * size[1]), size


def ms_deform_attn_forward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_loc: Tensor,
    attn_weight: Tensor,
    im2col_step: int,
) -> Tensor:
    """Return the attended values, (N, queries, heads * channels).

    Args:
        value: (N, keys, heads, channels), the levels one after the other.
        spatial_shapes: (levels, 2), height and width.
        level_start_index: (levels,), each level's first key.
        sampling_loc: (N, queries, heads, levels, points, 2), (x, y) in 0..1.
        attn_weight: (N, queries, heads, levels, points).
        im2col_step: mmcv's number of pictures a kernel call; not needed here.
    """
    batch, _, heads, channels = value.shape
    queries = sampling_loc.size(1)
    output = widen(value).new_zeros(batch, queries, heads, channels)
    for level, keys, size in _levels(value, spatial_shapes, level_start_index):
        output += _attend_level(
            widen(value[:, keys]),
            widen(sampling_loc[:, :, :, level]),
            widen(attn_weight[:, :, :, level]),
            size,
        )
    return output.view(batch, queries, heads * channels).to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_loc: Tensor,
    attn_weight: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Write the gradients into ``grad_value``, ``grad_sampling_loc`` and ``grad_attn_weight``."""
    batch, _, heads, channels = value.shape
    grad = widen(grad_output).view(batch, sampling_loc.size(1), heads, channels)
    for level, keys, size in _levels(value, spatial_shapes, level_start_index):
        inputs = [
            widen(tensor).detach().requires_grad_()
            for tensor in (
                value[:, keys],
                sampling_loc[:, :, :, level],
                attn_weight[:, :, :, level],
            )
        ]
        with torch.enable_grad():
            output = _attend_level(inputs[0], inputs[1], inputs[2], size)
        grads = torch.autograd.grad(output, inputs, grad)
        grad_value[:, keys] = grads[0].to(grad_value.dtype)
        grad_sampling_loc[:, :, :, level] = grads[1].to(grad_sampling_loc.dtype)
        grad_attn_weight[:, :, :, level] = grads[2].to(grad_attn_weight.dtype)


OPERATORS: tuple[Callable, ...] = (ms_deform_attn_forward, ms_deform_attn_backward)
