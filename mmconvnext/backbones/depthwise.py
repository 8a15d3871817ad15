"""Depthwise convolution, whose backward pass on a CPU is a quarter of a block's in plain torch."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mmconvnext.backbones.torch_state import autocast_state, is_compiling, onednn_computes

_TILE = 32  # positions, about, of a tile's height and width
_NUMBERS = 2**20  # of the input at a time


class DepthwiseConv2d(nn.Conv2d):
    """Depthwise convolution that keeps the size: (N, C, H, W) to the same, channels last."""

    def __init__(self, channels: int, kernel_size: int, dilation: int) -> None:
        padding = dilation * (kernel_size // 2)
        super().__init__(
            channels, channels, kernel_size, padding=padding, dilation=dilation, groups=channels
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``x``."""
        plain = not torch.is_grad_enabled() or torch.jit.is_tracing()
        plain = plain or (is_compiling() and _COMPILED is None)
        dtype = x.dtype if plain else _computed_in(x, self.weight)
        if plain or not x.is_cpu or x.numel() == 0 or not onednn_computes(dtype):
            return super().forward(x)
        settings = (self.padding, self.dilation)
        out: Tensor = _Depthwise.apply(x.to(dtype), self.weight, self.bias, *settings)
        return out


def _computed_in(x: Tensor, weight: Tensor) -> torch.dtype:
    """The type a convolution computes in, autocast or not."""
    dtype, autocast = autocast_state("cpu")
    own = torch.promote_types(x.dtype, weight.dtype)
    return dtype if autocast and own != torch.float64 else own


class _Depthwise(torch.autograd.Function):
    """The three gradients one by one: together oneDNN computes the bias' and weight's slowly, and
    the weight's alone at a tenth of a convolution's speed, in bfloat16 at a fiftieth (oneDNN of
    torch 2.14, AVX-512)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        padding: tuple[int, int],
        dilation: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding, ctx.dilation = padding, dilation
        bias = None if bias is None else bias.to(x.dtype)
        return F.conv2d(x, weight.to(x.dtype), bias, 1, padding, dilation, x.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.ops.aten.convolution_backward(
                grad,
                x,
                weight.to(x.dtype),
                [0],
                [1, 1],
                ctx.padding,
                ctx.dilation,
                False,
                [0, 0],
                weight.shape[0],
                [True, False, False],
            )[0]
        if ctx.needs_input_grad[1]:
            of_weight = _COMPILED if is_compiling() else _of_weight
            grad_weight = of_weight(grad, x, weight.shape[-1], ctx.padding[0], ctx.dilation[0])
            grad_weight = grad_weight.to(weight.dtype)
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum((0, 2, 3), dtype=weight.dtype)
        return grad_x, grad_weight, grad_bias, None, None


def _of_weight(grad: Tensor, x: Tensor, size: int, padding: int, dilation: int) -> Tensor:
    """The (C, 1, size, size) gradient in float32, as a depthwise convolution of ``x`` by ``grad``.

    Each tap is a position of its output. As a whole map is no size for a kernel, tiles are: each
    has its own channels, and their sum is the gradient.
    """
    channels, reach = x.shape[1], dilation * (size - 1)
    (rows, height), (columns, width) = (_tiles(length) for length in x.shape[2:])
    below, right = rows * height - x.shape[2], columns * width - x.shape[3]
    around = (0, 0, padding, padding + right, padding, padding + below)
    inputs = F.pad(x.permute(0, 2, 3, 1), around)
    inputs = inputs.unfold(1, height + reach, height).unfold(2, width + reach, width)
    kernels = F.pad(grad.permute(0, 2, 3, 1), (0, 0, 0, right, 0, below))
    kernels = kernels.unfold(1, height, height).unfold(2, width, width)
    step = max(1, _NUMBERS // (inputs.numel() // rows))
    total = x.new_zeros((channels, size, size), dtype=torch.float32)
    for first in range(0, rows, step):
        part, kernel = (
            tiles[:, first : first + step].permute(4, 5, 0, 1, 2, 3).flatten(2).permute(2, 0, 1)
            for tiles in (inputs, kernels)
        )
        out = F.conv2d(part[None], kernel[:, None], stride=dilation, groups=len(kernel))
        total += out.view(-1, channels, size, size).sum(0, dtype=torch.float32)
    return total[:, None]


def _tiles(length: int) -> tuple[int, int]:
    """How many tiles, and of what length."""
    count = -(-length // _TILE)
    return count, -(-length // count)


def _known_to_compiler() -> Any:
    """``_of_weight`` as an operator that torch.compile does not look into: how many tiles there
    are would make a program of its own for each size of picture."""
    if not hasattr(torch.library, "custom_op"):  # before PyTorch 2.4
        return None
    operator = torch.library.custom_op(
        "mmconvnext::depthwise_weight_gradient", _of_weight, mutates_args=()
    )

    @operator.register_fake
    def _(grad: Tensor, x: Tensor, size: int, padding: int, dilation: int) -> Tensor:
        return x.new_empty((x.shape[1], 1, size, size), dtype=torch.float32)

    return operator


_COMPILED = _known_to_compiler()
