"""RoI pooling: RoIAlign's average on torchvision's kernels, its maximum and RoIPool in PyTorch.

RoIs are (R, 5): index of the image in the batch, x1 y1 x2 y2 in pixels of the image;
``spatial_scale`` takes them to the feature map's. In fp32 or fp64 inside, whatever comes in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torchvision  # noqa: F401  (registers torch.ops.torchvision)
from torch import Tensor

from mmconvnext.compat.mmcv_ops.precision import widen

AVERAGE = 1  # mmcv's number of the pooling mode; 0 is the maximum


class Sample(NamedTuple):
    """One point of every bin's grid: its place, and whether the bin has it at all."""

    y: Tensor  # (R, ph, 1)
    x: Tensor  # (R, 1, pw)
    valid: Tensor  # (R, ph, pw)


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Pool bilinear samples of each RoI's bins (He et al., Mask R-CNN, 2017, section 3).

    Args:
        input: (N, C, H, W).
        rois: (R, 5).
        output: (R, C, ph, pw), receives the pooled values. A bin without samples (an ``aligned``
            RoI of no size) has 0; mmcv's maximum there is the lowest number of fp32, which no layer
            behind it survives.
        argmax_y: as ``output``, receives where the maximum lies, -1 for nowhere; not touched by the
            average.
        argmax_x: the same for x.
        aligned_height: ph, bins from top to bottom.
        aligned_width: pw, bins from left to right.
        spatial_scale: pixels of the feature map for one of the image.
        sampling_ratio: samples a bin has in each direction; 0 for as many as it has pixels.
        pool_mode: 0 maximum, 1 average.
        aligned: whether pixel centres lie at half coordinates; without it a RoI counts as at least
            1 x 1.
    """
    wide = widen(input)
    rois = rois.to(wide.dtype)
    size = (aligned_height, aligned_width)
    if pool_mode == AVERAGE:
        pooled = torch.ops.torchvision.roi_align(
            wide, rois, spatial_scale, *size, sampling_ratio, aligned
        )
        output.copy_(pooled)
        return
    best = _lowest(rois, wide, size)
    best_y, best_x = torch.full_like(best, -1), torch.full_like(best, -1)
    images = rois[:, 0].long()
    for sample in _grid(rois, size, spatial_scale, sampling_ratio, aligned):
        value = _interpolate(wide, images, sample)
        better = sample.valid[..., None] & (value > best)
        best = torch.where(better, value, best)
        best_y = torch.where(better, sample.y[..., None], best_y)
        best_x = torch.where(better, sample.x[..., None], best_x)
    output.copy_(torch.where(best == -torch.inf, 0.0, best).permute(0, 3, 1, 2))
    argmax_y.copy_(best_y.permute(0, 3, 1, 2))
    argmax_x.copy_(best_x.permute(0, 3, 1, 2))


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write :func:`roi_align_forward`'s gradient by its input into ``grad_input`` (N, C, H, W)."""
    wide = widen(grad_output)
    rois = rois.to(wide.dtype)
    if pool_mode == AVERAGE:
        grad = torch.ops.torchvision._roi_align_backward(
            wide,
            rois,
            spatial_scale,
            aligned_height,
            aligned_width,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )
        grad_input.copy_(grad)
        return
    y, x = argmax_y.to(wide.dtype), argmax_x.to(wide.dtype)
    height, width = grad_input.shape[-2:]
    wide = torch.where(y == -1, 0.0, wide)
    total = wide.new_zeros(grad_input.shape)
    for row, row_share in _neighbours(y, height):
        for column, column_share in _neighbours(x, width):
            _scatter(total, wide * row_share * column_share, rois, row * width + column)
    grad_input.copy_(total)


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Take the maximum of the pixels in each RoI's bins (Girshick, Fast R-CNN, 2015).

    The bins reach to whole pixels outwards, and RoIs are not rounded, as in mmcv; torchvision's
    kernel rounds.

    Args:
        input: (N, C, H, W).
        rois: (R, 5); x2 and y2 belong to the RoI.
        output: (R, C, ph, pw), receives the maxima, 0 for an empty bin.
        argmax: as ``output``, int32, receives ``y * W + x`` of the maximum, -1 for none.
        pooled_height: ph, bins from top to bottom.
        pooled_width: pw, bins from left to right.
        spatial_scale: pixels of the feature map for one of the image.
    """
    wide = widen(input)
    rois = rois.to(wide.dtype)
    best = _lowest(rois, wide, (pooled_height, pooled_width))
    index = torch.full_like(best, -1, dtype=torch.long)
    images = rois[:, 0].long()
    for sample in _pixels(rois, (pooled_height, pooled_width), spatial_scale, wide.shape[-2:]):
        value = wide[images[:, None, None], :, sample.y, sample.x]
        better = sample.valid[..., None] & (value > best)
        best = torch.where(better, value, best)
        place = sample.y * wide.size(-1) + sample.x
        index = torch.where(better, place[..., None], index)
    output.copy_(torch.where(index < 0, 0.0, best).permute(0, 3, 1, 2))
    argmax.copy_(index.permute(0, 3, 1, 2))


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Write :func:`roi_pool_forward`'s gradient by its input into ``grad_input`` (N, C, H, W)."""
    wide = torch.where(argmax < 0, 0.0, widen(grad_output))
    total = wide.new_zeros(grad_input.shape)
    _scatter(total, wide, rois, argmax.clamp(min=0).long())
    grad_input.copy_(total)


def _lowest(rois: Tensor, features: Tensor, size: tuple[int, int]) -> Tensor:
    """Where a running maximum starts, (R, ph, pw, C): as gathering pixels puts the axes."""
    return features.new_full((rois.size(0), *size, features.size(1)), -torch.inf)


def _grid(
    rois: Tensor, size: tuple[int, int], scale: float, sampling_ratio: int, aligned: bool
) -> Iterator[Sample]:
    """Yield sampling points, one of each bin at a time: memory does not grow with their number."""
    x1, y1, x2, y2 = (rois[:, 1:] * scale - (0.5 if aligned else 0.0)).unbind(1)
    (rows, y_at), (columns, x_at) = (
        _along(start, end, bins, sampling_ratio, aligned)
        for start, end, bins in ((y1, y2, size[0]), (x1, x2, size[1]))
    )
    for i in range(_count(rows, sampling_ratio)):
        for j in range(_count(columns, sampling_ratio)):
            valid = ((i < rows) & (j < columns))[:, None, None].expand(-1, *size)
            yield Sample(y_at(i)[:, :, None], x_at(j)[:, None, :], valid)


def _along(
    start: Tensor, end: Tensor, bins: int, sampling_ratio: int, aligned: bool
) -> tuple[Tensor, Callable[[int], Tensor]]:
    """In one direction: how many samples a bin has (R,), and where its i-th one lies (R, bins)."""
    extent = end - start if aligned else (end - start).clamp(min=1)
    step = extent / bins
    samples = torch.full_like(step, sampling_ratio) if sampling_ratio > 0 else step.ceil()
    edges = start[:, None] + torch.arange(bins, device=step.device) * step[:, None]
    return samples, lambda i: edges + ((i + 0.5) * step / samples.clamp(min=1))[:, None]


def _count(samples: Tensor, sampling_ratio: int) -> int:
    """Return the largest number of samples; adaptive ones have to be read from the device."""
    if sampling_ratio > 0:
        return sampling_ratio
    return int(samples.max()) if samples.numel() else 0


def _pixels(
    rois: Tensor, size: tuple[int, int], scale: float, shape: torch.Size
) -> Iterator[Sample]:
    """Yield the pixels of RoIPool's bins, one of each bin at a time."""
    x1, y1 = (rois[:, 1:3] * scale).unbind(1)
    x2, y2 = ((rois[:, 3:] + 1) * scale).unbind(1)
    sized = (x2 > x1) & (y2 > y1)
    edges = []
    for start, end, bins, limit in ((y1, y2, size[0], shape[0]), (x1, x2, size[1], shape[1])):
        bounds = torch.arange(bins + 1, device=rois.device) * ((end - start) / bins)[:, None]
        low = (bounds[:, :-1] + start[:, None]).floor().long().clamp(0, limit)
        high = (bounds[:, 1:] + start[:, None]).ceil().long().clamp(0, limit)
        edges.append((low, torch.where(sized[:, None], high, low)))
    (top, bottom), (left, right) = edges
    if not rois.size(0):
        return
    for i in range(int((bottom - top).max())):
        for j in range(int((right - left).max())):
            y, x = (top + i)[:, :, None], (left + j)[:, None, :]
            valid = (y < bottom[:, :, None]) & (x < right[:, None, :])
            yield Sample(y.clamp(max=shape[0] - 1), x.clamp(max=shape[1] - 1), valid)


def _neighbours(at: Tensor, size: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the two pixels beside each place and their shares, 0 outside of [-1, ``size``]."""
    inside = (at >= -1) & (at <= size)
    at = at.clamp(0, size - 1)
    low = at.floor().long()
    high = (low + 1).clamp(max=size - 1)
    share = at - low
    return (low, (1 - share) * inside), (high, share * inside)


def _interpolate(features: Tensor, images: Tensor, sample: Sample) -> Tensor:
    """Sample ``features`` (N, C, H, W) at (R, ph, 1) x (R, 1, pw); returns (R, ph, pw, C)."""
    image = images[:, None, None]
    total = features.new_zeros(())
    for row, row_share in _neighbours(sample.y, features.size(2)):
        for column, column_share in _neighbours(sample.x, features.size(3)):
            total = total + features[image, :, row, column] * (row_share * column_share)[..., None]
    return total


def _scatter(total: Tensor, values: Tensor, rois: Tensor, places: Tensor) -> None:
    """Add ``values`` (R, C, ph, pw) to ``places`` (y * W + x) of the RoIs' images in ``total``."""
    channels, area = total.size(1), total.size(2) * total.size(3)
    planes = rois[:, :1].long() * channels + torch.arange(channels, device=total.device)
    flat = planes[:, :, None, None] * area + places
    total.view(-1).scatter_add_(0, flat.flatten(), values.flatten())


OPERATORS: tuple[Callable[..., Any], ...] = (
    roi_align_forward,
    roi_align_backward,
    roi_pool_forward,
    roi_pool_backward,
)
