"""Deformable convolution, v1 and v2, on torchvision's kernels.

mmcv and torchvision agree on the layout (offset channels ``[y0, x0, y1, x1, ...]`` for each
deformable group) and on the borders (a sample one pixel or more outside the image is zero).
torchvision has no bfloat16 kernel and sums float16 gradients in float16, so both are computed in
float32 here, as torchvision itself does under autocast.
"""

# ruff: noqa: N803  (mmcv's wrappers pass these arguments by keyword)
from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
import torchvision  # noqa: F401  (loads torch.ops.torchvision)
from torch import Tensor

from mmconvnext.compat.mmcv_ops.precision import widen


class _Geometry(NamedTuple):
    """The numbers that torchvision's operators take after the tensors, in their order."""

    stride_h: int
    stride_w: int
    pad_h: int
    pad_w: int
    dilation_h: int
    dilation_w: int
    groups: int
    offset_groups: int
    use_mask: bool


class _WeightGradient(NamedTuple):
    """A weight gradient, and the output gradient (as of its version) that it belongs to."""

    value: Tensor
    grad_output: weakref.ref[Tensor]
    version: int


def _convolve(tensors: tuple[Tensor, ...], geometry: _Geometry) -> Tensor:
    """Run torchvision's forward on (input, weight, offset, mask, bias)."""
    return torch.ops.torchvision.deform_conv2d(*map(widen, tensors), *geometry)


def _gradients(tensors: tuple[Tensor, ...], geometry: _Geometry) -> tuple[Tensor, ...]:
    """Run torchvision's backward on (grad_output, input, weight, offset, mask, bias)."""
    return torch.ops.torchvision._deform_conv2d_backward(*map(widen, tensors), *geometry)


def _as_read(field: Tensor, size: torch.Size) -> Tensor:
    """Read an offset or mask field (N, K, H, W) as mmcv's v2 kernels do for an output of ``size``.

    They take a picture's field for a packed (K, H_out, W_out), whatever its size. mmdet's DyHead
    (and GLIP) rely on that: they give a level the field of the level below, twice its size.
    """
    batch, taps, height, width = field.shape
    if height * width < size.numel():
        raise ValueError(
            f"modulated_deform_conv: offset and mask need the output's size, {tuple(size)}; "
            f"found {(height, width)}"
        )
    return field.flatten(1)[:, : taps * size.numel()].reshape(batch, taps, *size)


def _as_written(grad: Tensor, shape: torch.Size) -> Tensor:
    """Put the gradient of what :func:`_as_read` gave back into the field's shape; the rest is 0."""
    flat = grad.flatten(1)
    return F.pad(flat, (0, shape[1:].numel() - flat.size(1))).view(shape)


def _no_mask_no_bias(weight: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """Placeholders in the shapes that torchvision insists on."""
    return offset.new_zeros(offset.size(0), 0, *offset.shape[2:]), weight.new_zeros(weight.size(0))


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Write the deformable convolution of ``input`` (N, C, H, W) into ``output``.

    ``offset`` is (N, 2 * deformable_group * kH * kW, H_out, W_out), in pixels of ``input``.
    ``columns``, ``ones`` and ``im2col_step`` are mmcv's work space; torchvision brings its own.
    """
    numbers = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    mask, bias = _no_mask_no_bias(weight, offset)
    tensors = (input, weight, offset, mask, bias)
    output.copy_(_convolve(tensors, _Geometry(*numbers, use_mask=False)))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Write the gradients of ``input`` and ``offset`` into ``gradInput`` and ``gradOffset``.

    torchvision finds the gradient of the weight at the same time; it is left with ``columns``, the
    work space that mmcv hands on to :func:`deform_conv_backward_parameters`, which would otherwise
    have to do all of it again.
    """
    numbers = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    mask, bias = _no_mask_no_bias(weight, offset)
    tensors = (gradOutput, input, weight, offset, mask, bias)
    grads = _gradients(tensors, _Geometry(*numbers, use_mask=False))
    gradInput.copy_(grads[0])
    gradOffset.copy_(grads[2])
    vars(columns)["weight_gradient"] = _WeightGradient(
        grads[1], weakref.ref(gradOutput), gradOutput._version
    )


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Add ``scale`` times the gradient of the weight to ``gradWeight``."""
    found: _WeightGradient | None = vars(columns).pop("weight_gradient", None)
    # The graph may be kept and run again with another output gradient: what was found is used for
    # its own only.
    if found and found.grad_output() is gradOutput and found.version == gradOutput._version:
        gradWeight.add_(found.value, alpha=scale)
        return
    numbers = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    # The weight's gradient does not depend on the weight: its own buffer stands for it.
    mask, bias = _no_mask_no_bias(gradWeight, offset)
    tensors = (gradOutput, input, gradWeight, offset, mask, bias)
    gradWeight.add_(_gradients(tensors, _Geometry(*numbers, use_mask=False))[1], alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Write the modulated deformable convolution of ``input`` (N, C, H, W) into ``output``.

    ``offset`` is (N, 2 * deformable_group * kernel_h * kernel_w, H_out, W_out), in pixels of
    ``input``; ``mask`` has half as many channels. ``bias`` is empty without ``with_bias``.
    """
    numbers = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    if not with_bias:
        bias = weight.new_zeros(weight.size(0))
    size = output.shape[2:]
    tensors = (input, weight, _as_read(offset, size), _as_read(mask, size), bias)
    output.copy_(_convolve(tensors, _Geometry(*numbers, use_mask=True)))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Write the gradients into the ``grad_*`` tensors; ``grad_bias`` only ``with_bias``."""
    numbers = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    if not with_bias:
        bias = weight.new_zeros(weight.size(0))
    size = grad_output.shape[2:]
    tensors = (grad_output, input, weight, _as_read(offset, size), _as_read(mask, size), bias)
    grads = _gradients(tensors, _Geometry(*numbers, use_mask=True))
    grad_input.copy_(grads[0])
    grad_weight.copy_(grads[1])
    grad_offset.copy_(_as_written(grads[2], offset.shape))
    grad_mask.copy_(_as_written(grads[3], mask.shape))
    if with_bias:
        grad_bias.copy_(grads[4])


OPERATORS: tuple[Callable, ...] = (
    deform_conv_forward,
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    modulated_deform_conv_forward,
    modulated_deform_conv_backward,
)
