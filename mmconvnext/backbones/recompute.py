"""What a block keeps for its backward pass, and what it computes again there instead.

A block is ``dwconv, norm, pwconv1, act (, grn), pwconv2``, of which autograd keeps each input. Here
a linear layer and what comes before it are one autograd function, which keeps the input of the
first part only. Which parts go together is the trade of memory against time:

============== ============================================== ==================================
``recompute``  kept of each block, in widths of its input     computed again
============== ============================================== ==================================
None           inputs of all: 1 + 1 + 1 + 4 + 4               nothing (but see ``mlp.py``)
``activation`` of dwconv, norm and act: 1 + 1 + 4             norm, activation
``mlp``        of dwconv and norm: 1 + 1                      norm, pwconv1, activation
``block``      of dwconv: 1                                   all but pwconv2
============== ============================================== ==================================

Nothing before pwconv2 draws random numbers or keeps statistics, so that computing it again gives
the same. The functions can be differentiated once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from mmconvnext.backbones.layers import PointwiseConv2d
from mmconvnext.backbones.pointwise import linear
from mmconvnext.backbones.torch_state import autocast_state, is_compiling, onednn_computes

MODES = (None, "activation", "mlp", "block")
Parts = Callable[[Tensor], Tensor]


class Linear(NamedTuple):
    """A linear layer with layer scale: ``gamma * factor * (weight @ x + bias)``.

    Attributes:
        weight: (out, in).
        bias: (out,), or none.
        gamma: (out,), or none.
        factor: 1 / (1 - rate) of drop path, 1 without.
    """

    weight: Tensor
    bias: Tensor | None
    gamma: Tensor | None = None
    factor: float = 1.0

    def scale(self) -> Tensor | float:
        """``gamma * factor``."""
        return self.factor if self.gamma is None else self.gamma * self.factor

    def scales_output(self, x: Tensor) -> bool:
        """Whether what the layer gives for ``x`` has fewer numbers than its weight, so that scaling
        it is less work. Half precision keeps to :meth:`folded`, which scales before rounding."""
        few = x.numel() // x.shape[-1] < self.weight.shape[1]
        return few and self.gamma is not None and on_onednn(x, self.weight)

    def folded(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the same layer without scale: a pass over the maps less."""
        scale = self.scale()
        if self.gamma is None and self.factor == 1:
            return self.weight, self.bias
        rows = scale[:, None] if isinstance(scale, Tensor) else scale
        return self.weight * rows, None if self.bias is None else self.bias * scale


def parameters(*parts: nn.Module | None) -> list[Tensor]:
    """The parameters of those that are there."""
    return [p for part in parts if part is not None for p in part.parameters()]


def trains_plainly(*layers: nn.Module) -> bool:
    """Whether a gradient is wanted and the layers are what their weights say: no hooks on them,
    nothing put in their place (LoRA, quantisation). What is traced or exported keeps its layers."""
    return (
        torch.is_grad_enabled()
        and not torch.jit.is_tracing()
        and all(type(layer) in (nn.Linear, PointwiseConv2d) for layer in layers)
        and not any(layer._forward_hooks or layer._forward_pre_hooks for layer in layers)
    )


def linear_of(parts: Parts | None, parameters: Sequence[Tensor], x: Tensor, last: Linear) -> Tensor:
    """``last(parts(x))``, keeping ``x`` for the backward pass and not ``parts(x)``.

    Args:
        parts: what comes before the linear layer, without randomness; None: nothing.
        parameters: those that ``parts`` uses.
        x: what ``parts`` takes; it gives (N, H, W, in).
        last: the linear layer.

    Returns:
        (N, H, W, out)
    """
    if is_compiling():  # Dynamo sees into checkpoint, not into our backward pass
        if parts is None:
            return F.linear(x, *last.folded())
        return checkpoint(lambda x: F.linear(parts(x), *last.folded()), x, use_reentrant=False)
    if not torch.is_grad_enabled():
        return _apply(parts, x, last)
    out: Tensor = _LinearOf.apply(parts, x, *last, *parameters)
    return out


class _LinearOf(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        parts: Parts | None,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        gamma: Tensor | None,
        factor: float,
        *parameters: Tensor,
    ) -> Tensor:
        ctx.parts, ctx.factor = parts, factor
        ctx.autocast = _autocast(x.device.type)
        ctx.save_for_backward(x, weight, bias, gamma, *parameters)
        return _apply(parts, x, Linear(weight, bias, gamma, factor))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, gamma, *parameters = ctx.saved_tensors
        last = Linear(weight, bias, gamma, ctx.factor)
        _, needs_x, *needs_last, _ = ctx.needs_input_grad[:6]
        needs = ctx.needs_input_grad[6:]
        learning = [p for p, needed in zip(parameters, needs, strict=True) if needed]
        inside, start = x, x
        if ctx.parts is not None:
            start = x.detach().requires_grad_(needs_x)
            with torch.set_grad_enabled(needs_x or bool(learning)), ctx.autocast():
                inside = ctx.parts(start)
        rows = grad.flatten(0, -2)
        of_last: tuple[Tensor | None, ...] = (None, None, None)
        if any(needs_last):
            of_weight = rows.t() @ inside.detach().flatten(0, -2).to(grad.dtype)
            of_bias = rows.sum(0, dtype=weight.dtype)
            of_last = of_layer(of_weight.to(weight.dtype), of_bias, last)
        grad_x = None
        grads: list[Tensor | None] = [None] * len(parameters)
        if needs_x or learning:
            grad_x = _apply_backwards(grad, last).to(inside.dtype)
        if ctx.parts is not None and grad_x is not None:
            wanted = [start, *learning] if needs_x else learning
            found = list(torch.autograd.grad(inside, wanted, grad_x))
            grad_x = found.pop(0) if needs_x else None
            grads = [found.pop(0) if needed else None for needed in needs]
        return None, grad_x, *of_last, None, *grads


def _apply(parts: Parts | None, x: Tensor, last: Linear) -> Tensor:
    x = x if parts is None else parts(x)
    multiply = linear if on_onednn(x, last.weight) else F.linear
    if last.scales_output(x):
        return multiply(x, last.weight, last.bias).mul_(last.scale())
    return multiply(x, *last.folded())


def _apply_backwards(grad: Tensor, layer: Linear) -> Tensor:
    """The gradient of the layer's input from its output's."""
    multiply = linear if on_onednn(grad, layer.weight) else F.linear
    if layer.scales_output(grad):
        return multiply(grad * layer.scale(), layer.weight.t(), None)
    return multiply(grad, layer.folded()[0].to(grad.dtype).t(), None)


def of_layer(
    grad_weight: Tensor, grad_bias: Tensor, layer: Linear
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Gradients of a layer's weight, bias and gamma from those of its folded weight and bias, in
    whose memory they are: fresh memory costs more than the products do."""
    weight, bias, gamma, factor = layer
    if gamma is None:
        of_weight = grad_weight if factor == 1 else grad_weight.mul_(factor)
        return of_weight, None if bias is None else grad_bias.mul_(factor), None
    grad_gamma = torch.bmm(grad_weight[:, None], weight[..., None]).flatten()
    if bias is not None:
        grad_gamma += grad_bias * bias
    scale = gamma * factor
    of_bias = None if bias is None else grad_bias.mul_(scale)
    return grad_weight.mul_(scale[:, None]), of_bias, grad_gamma.mul_(factor)


def _autocast(device: str) -> Callable[[], AbstractContextManager]:
    """The autocast that is in force, to be entered again."""
    dtype, enabled = autocast_state(device)
    return lambda: torch.autocast(device, dtype=dtype, enabled=enabled)


def on_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether torch computes with oneDNN where that is faster: single precision on a CPU."""
    return (
        x.is_cpu
        and x.dtype == weight.dtype == torch.float32
        and x.numel() > 0
        and onednn_computes(torch.float32)
        and not autocast_state("cpu")[1]
    )
