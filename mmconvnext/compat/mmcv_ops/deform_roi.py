"""Deformable RoI pooling: RoIAlign with a learnt shift of every bin.

torchvision's RoIAlign gives no gradient with respect to where it samples, so this is plain PyTorch.
RoIs whose bins take the same number of samples are pooled together, one picture at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmconvnext.compat.mmcv_ops.precision import widen

# Sampled elements that exist at one time: 128 MiB in float32.
SAMPLE_ELEMENTS = 2**25


class _Group(NamedTuple):
    """RoIs (indices) of one picture whose bins take the same number of samples, down and across."""

    image: int
    rois: Tensor
    samples_y: int
    samples_x: int


class _Bins(NamedTuple):
    """Where the bins of all RoIs lie, in pixels of the features; x, y last."""

    starts: Tensor  # (RoIs, 2): upper left corner
    sizes: Tensor  # (RoIs, 2): of the RoI
    counts: tuple[int, int]  # bins across and down
    gamma: float  # shifts are in units of gamma times the RoI's size

    def positions(self, group: _Group, offset: Tensor | None) -> Tensor:
        """Sample positions of a group, (RoIs, bins down, bins across, samples_y, samples_x, 2).

        ``offset``, (RoIs, 2, bins down, bins across), belongs to the group's RoIs.
        """
        starts, sizes = self.starts[group.rois], self.sizes[group.rois]
        axes = []
        for axis, samples in enumerate((group.samples_x, group.samples_y)):
            bins = self.counts[axis]
            steps = torch.arange(bins * samples, device=starts.device, dtype=starts.dtype) + 0.5
            along = starts[:, axis, None] + sizes[:, axis, None] * (steps / (bins * samples))
            axes.append(along.unflatten(1, (bins, samples)))
        x, y = torch.broadcast_tensors(axes[0][:, None, :, None, :], axes[1][:, :, None, :, None])
        positions = torch.stack((x, y), dim=-1)
        if offset is None:
            return positions
        shifts = self.gamma * sizes[:, :, None, None] * offset
        return positions + shifts.permute(0, 2, 3, 1)[:, :, :, None, None]


def _lay_out(
    rois: Tensor, channels: int, counts: tuple[int, int], scale: float, ratio: int, gamma: float
) -> tuple[_Bins, list[_Group]]:
    """Place the bins and group the RoIs; those without a sample (empty box) are in no group."""
    starts, ends = rois[:, 1:3] * scale - 0.5, rois[:, 3:5] * scale - 0.5
    sizes = ends - starts
    samples = (sizes / sizes.new_tensor(counts)).ceil().long()
    if ratio > 0:
        samples = torch.full_like(samples, ratio)
    kinds, kind_of_roi = torch.cat([rois[:, :1].long(), samples], dim=1).unique(
        dim=0, return_inverse=True
    )
    groups: list[_Group] = []
    for kind, (image, samples_x, samples_y) in enumerate(kinds.tolist()):
        if samples_x > 0 and samples_y > 0:
            elements = counts[0] * samples_x * counts[1] * samples_y * channels
            members = (kind_of_roi == kind).nonzero().flatten()
            parts = members.split(max(1, SAMPLE_ELEMENTS // elements))
            groups.extend(_Group(image, part, samples_y, samples_x) for part in parts)
    return _Bins(starts, sizes, counts, gamma), groups


def _pool(image: Tensor, positions: Tensor) -> Tensor:
    """Average the samples of ``image`` (C, H, W) in each bin: (RoIs, C, bins down, across)."""
    count, down, across = positions.shape[:3]
    size = positions.new_tensor([image.size(2), image.size(1)])
    # Up to one pixel outside, the border's value counts; further out, nothing does.
    inside = ((positions >= -1) & (positions <= size)).all(-1)
    grid = (2 * positions + 1) / size - 1
    grid = grid.reshape(1, count * down * across, -1, 2)
    samples = F.grid_sample(image[None], grid, padding_mode="border", align_corners=False)[0]
    means = (samples * inside.view(samples.shape[1:])).mean(-1)
    return means.unflatten(1, (count, down, across)).transpose(0, 1)


def deform_roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Write the pooled RoIs into ``output`` (RoIs, C, pooled_height, pooled_width), given as zeros.

    ``rois`` is (RoIs, 5): picture, x1, y1, x2, y2. ``offset`` is (RoIs, 2, pooled_height,
    pooled_width), x first, or empty. ``sampling_ratio`` 0 takes a sample for each started pixel of
    a bin.
    """
    counts = (pooled_width, pooled_height)
    bins, groups = _lay_out(
        widen(rois), input.size(1), counts, spatial_scale, sampling_ratio, gamma
    )
    for group in groups:
        image = widen(input[group.image])
        shift = widen(offset[group.rois]) if offset.numel() else None
        positions = bins.positions(group, shift).to(image.dtype)
        output[group.rois] = _pool(image, positions).to(output.dtype)


def deform_roi_pool_backward(
    grad_output: Tensor,
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Write the gradients into ``grad_input`` and ``grad_offset``, which are given as zeros."""
    counts = (pooled_width, pooled_height)
    bins, groups = _lay_out(
        widen(rois), input.size(1), counts, spatial_scale, sampling_ratio, gamma
    )
    summed = torch.zeros_like(widen(grad_input))
    for group in groups:
        inputs = [widen(input[group.image]).detach().requires_grad_()]
        if offset.numel():
            inputs.append(widen(offset[group.rois]).detach().requires_grad_())
        with torch.enable_grad():
            positions = bins.positions(group, *inputs[1:] or (None,)).to(inputs[0].dtype)
            output = _pool(inputs[0], positions)
        grads = torch.autograd.grad(output, inputs, grad_output[group.rois].to(output.dtype))
        summed[group.image] += grads[0]
        if offset.numel():
            grad_offset[group.rois] = grads[1].to(grad_offset.dtype)
    grad_input.copy_(summed)


OPERATORS: tuple[Callable, ...] = (deform_roi_pool_forward, deform_roi_pool_backward)
