"""Depthwise convolution, whose backward pass on a CPU is a quarter of a block's in plain torch."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mmconvnext.backbones.recompute import on_onednn
from mmconvnext.backbones.torch_state import is_compiling

# Above so many channels oneDNN's weight gradient takes ten times as long as it should: 768
# channels of 16x16 in 14 ms, two times 384 in 2.2 ms (oneDNN of torch 2.14, AVX-512).
_WIDEST = 512


class DepthwiseConv2d(nn.Conv2d):
    """Depthwise convolution that keeps the size: (N, C, H, W) to the same, channels last."""

    def __init__(self, channels: int, kernel_size: int, dilation: int) -> None:
        padding = dilation * (kernel_size // 2)
        super().__init__(
            channels, channels, kernel_size, padding=padding, dilation=dilation, groups=channels
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``x``."""
        plain = not torch.is_grad_enabled() or is_compiling() or torch.jit.is_tracing()
        if plain or not on_onednn(x, self.weight):
            return super().forward(x)
        out: Tensor = _Depthwise.apply(x, self.weight, self.bias, self.padding, self.dilation)
        return out


class _Depthwise(torch.autograd.Function):
    """The three gradients one by one: together oneDNN computes the bias' and weight's slowly."""

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
        return F.conv2d(x, weight, bias, 1, padding, dilation, x.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = _gradient(ctx, grad, x, weight, of_input=True)
        if ctx.needs_input_grad[1]:
            parts = range(0, x.shape[1], _WIDEST)
            grads = [
                _gradient(
                    ctx,
                    _channels(grad, i),
                    _channels(x, i),
                    weight[i : i + _WIDEST],
                    of_input=False,
                )
                for i in parts
            ]
            grad_weight = grads[0] if len(grads) == 1 else torch.cat(grads)
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum((0, 2, 3))
        return grad_x, grad_weight, grad_bias, None, None


def _channels(x: Tensor, first: int) -> Tensor:
    if x.shape[1] <= _WIDEST:
        return x
    return x[:, first : first + _WIDEST].contiguous(memory_format=torch.channels_last)


def _gradient(ctx: Any, grad: Tensor, x: Tensor, weight: Tensor, *, of_input: bool) -> Tensor:
    gradients: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        grad,
        x,
        weight,
        [0],
        [1, 1],
        ctx.padding,
        ctx.dilation,
        False,
        [0, 0],
        weight.shape[0],
        [of_input, not of_input, False],
    )
    return gradients[0 if of_input else 1]
