"""The focal losses (Lin et al., Focal Loss for Dense Object Detection, 2017) and their gradients.

In fp32 or fp64 inside, whatever comes in. ``weight`` holds one factor for each class and applies by
an item's label; an empty one stands for none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmconvnext.compat.mmcv_ops.precision import widen


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the loss of every item and class into ``output``.

    Args:
        input: logits (N, C).
        target: labels (N,); one outside of [0, C) means background, negative for every class.
        weight: (C,) or (0,); background has the factor 1.
        output: (N, C).
        gamma: focusing exponent.
        alpha: factor of the positive term; the negative one has ``1 - alpha``.
    """
    sign, factor = _binary(input, target, weight, alpha)
    log_p = F.logsigmoid(sign * widen(input))
    output.copy_(-factor * (-torch.expm1(log_p)) ** gamma * log_p)


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the derivative of the loss by the logits into ``grad_input`` (N, C)."""
    sign, factor = _binary(input, target, weight, alpha)
    log_p = F.logsigmoid(sign * widen(input))
    p, rest = log_p.exp(), -torch.expm1(log_p)
    grad_input.copy_(-sign * factor * rest**gamma * (rest - gamma * p * log_p))


def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the loss of every item into ``output``.

    Args:
        input: probabilities (N, C): mmcv takes the softmax itself.
        target: labels (N,); a negative one means an ignored item, of loss 0.
        weight: (C,) or (0,).
        output: (N,).
        gamma: focusing exponent.
        alpha: factor of the loss.
    """
    p, factor = _labelled(input, target, weight, alpha)
    output.copy_(-factor * (1 - p) ** gamma * p.clamp(min=_tiny(p)).log())


def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write the derivative of the loss by the logits into ``grad_input`` (N, C).

    ``buff`` (N,) receives p dL/dp, p being the probability of the label.
    """
    p, factor = _labelled(input, target, weight, alpha)
    # 0 to a negative power would turn the zero gradient of a perfect item into NaN.
    rest = (1 - p).clamp(min=_tiny(p))
    slope = factor * (gamma * rest ** (gamma - 1) * p * p.clamp(min=_tiny(p)).log() - rest**gamma)
    one_hot = target[:, None] == torch.arange(input.size(1), device=input.device)
    buff.copy_(slope)
    grad_input.copy_(slope[:, None] * (one_hot.to(p.dtype) - widen(input)))


def _tiny(tensor: Tensor) -> float:
    return torch.finfo(tensor.dtype).tiny


def _binary(input: Tensor, target: Tensor, weight: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Return (N, C): 1 at each item's label and -1 elsewhere, and the factor of the loss there."""
    classes = input.size(1)
    matches = target[:, None] == torch.arange(classes, device=input.device)
    positive = matches.to(widen(input).dtype)
    factor = positive * alpha + (1 - positive) * (1 - alpha)
    if weight.numel():
        known = (target >= 0) & (target < classes)
        by_item = torch.where(known, weight[target.clamp(0, classes - 1)].to(factor.dtype), 1.0)
        factor = factor * by_item[:, None]
    return 2 * positive - 1, factor


def _labelled(input: Tensor, target: Tensor, weight: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Return (N,): the probability of each item's label, and the factor of its loss."""
    label = target.clamp(min=0)
    p = widen(input).gather(1, label[:, None])[:, 0]
    factor = (target >= 0).to(p.dtype) * alpha
    if weight.numel():
        factor = factor * weight[label].to(p.dtype)
    return p, factor


OPERATORS: tuple[Callable[..., Any], ...] = (
    sigmoid_focal_loss_forward,
    sigmoid_focal_loss_backward,
    softmax_focal_loss_forward,
    softmax_focal_loss_backward,
)
