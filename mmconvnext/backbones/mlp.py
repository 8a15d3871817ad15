"""A block's pointwise part for training on a CPU: norm, pwconv1, GELU, pwconv2 by some positions at
a time.

The hidden activations are four times as wide as the block. As whole maps they fit no cache, and the
system has to clear fresh memory for each of them; of some thousand positions they stay in the
cache. ConvNeXt-T's first stage at 512x512 takes 0.78 of the time that way, the second 0.84; wider
ones gain nothing (AMD EPYC, 2 cores, fp32).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mmconvnext.backbones.layers import LayerNorm2d
from mmconvnext.backbones.pointwise import linear
from mmconvnext.backbones.recompute import Linear, of_layer, on_onednn
from mmconvnext.backbones.torch_state import is_compiling

_WIDEST = 256  # channels
_POSITIONS = 1024


def chunks_pay(x: Tensor, norm: nn.Module, act: nn.Module) -> bool:
    """Whether :func:`chunked_mlp` computes this, and faster than layer by layer."""
    return (
        torch.is_grad_enabled()
        and not is_compiling()
        and x.shape[1] <= _WIDEST
        and type(act) is nn.GELU
        and not any(layer._forward_hooks or layer._forward_pre_hooks for layer in (norm, act))
        and isinstance(norm, LayerNorm2d)
        and norm.weight is not None
        and norm.bias is not None
        and on_onednn(x, norm.weight)
    )


def chunked_mlp(
    x: Tensor, norm: nn.Module, first: Linear, act: nn.Module, last: Linear, *, keep: bool
) -> Tensor:
    """``last(act(first(norm(x))))``, of what :func:`chunks_pay` agrees to.

    Args:
        x: (N, C, H, W), channels last.
        norm: LayerNorm with weight and bias.
        first: widens C.
        act: GELU.
        last: back to C.
        keep: keep ``first``'s output for the backward pass; else it is computed again.

    Returns:
        (N, H, W, C)
    """
    settings = (norm.eps, act.approximate, keep, last.factor)
    out: Tensor = _ChunkedMlp.apply(
        x.permute(0, 2, 3, 1), norm.weight, norm.bias, *first[:2], *last[:3], settings
    )
    return out


class _ChunkedMlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *arguments: Any) -> Tensor:
        *parameters, settings = arguments
        norm_weight, norm_bias, weight, bias, *rest = parameters
        eps, approximate, keep, factor = ctx.settings = settings
        folded = Linear(rest[0], rest[1], rest[2], factor).folded()
        rows = x.reshape(-1, x.shape[-1])
        out = torch.empty_like(rows)
        hidden = rows.new_empty(len(rows), len(weight)) if keep else None
        for chunk in _chunks(len(rows)):
            normed = F.layer_norm(rows[chunk], rows.shape[1:], norm_weight, norm_bias, eps)
            if hidden is None:
                active = linear(normed, weight, bias, approximate)
            else:
                active = F.gelu(
                    hidden[chunk].copy_(linear(normed, weight, bias)), approximate=approximate
                )
            out[chunk] = linear(active, *folded)
        ctx.save_for_backward(x, hidden, *parameters)
        return out.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, hidden, norm_weight, norm_bias, weight, bias, *rest = ctx.saved_tensors
        eps, approximate, _, factor = ctx.settings
        last = Linear(rest[0], rest[1], rest[2], factor)
        folded = last.folded()[0]
        rows, grads = x.reshape(-1, x.shape[-1]), grad.reshape(-1, x.shape[-1])
        shape = list(rows.shape[1:])
        grad_rows = torch.empty_like(rows)
        grad_norm = [torch.zeros_like(norm_weight), torch.zeros_like(norm_bias)]
        grad_weight, grad_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        grad_folded = torch.zeros_like(folded)
        for chunk in _chunks(len(rows)):
            normed, mean, rstd = torch.native_layer_norm(
                rows[chunk], shape, norm_weight, norm_bias, eps
            )
            before = linear(normed, weight, bias) if hidden is None else hidden[chunk]
            grad_folded.addmm_(grads[chunk].t(), F.gelu(before, approximate=approximate))
            grad_before = torch.ops.aten.gelu_backward(
                linear(grads[chunk], folded.t(), None), before, approximate=approximate
            )
            grad_weight.addmm_(grad_before.t(), normed)
            grad_bias += grad_before.sum(0)
            grad_rows[chunk], *parts = torch.ops.aten.native_layer_norm_backward(
                linear(grad_before, weight.t(), None),
                rows[chunk],
                shape,
                mean,
                rstd,
                norm_weight,
                norm_bias,
                [True, True, True],
            )
            for total, part in zip(grad_norm, parts, strict=True):
                total += part
        of_last = of_layer(grad_folded, grads.sum(0), last)
        return grad_rows.view(x.shape), *grad_norm, grad_weight, grad_bias, *of_last, None


def _chunks(count: int) -> list[slice]:
    return [slice(i, i + _POSITIONS) for i in range(0, count, _POSITIONS)]
