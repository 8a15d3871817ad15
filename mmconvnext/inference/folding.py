"""Layer scale, GRN's beta and LayerNorm's affine folded into the linear layers beside them.

Sums and products are in double precision; what comes out has the type of what went in.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmconvnext.backbones.convnext import ConvNeXt
from mmconvnext.backbones.layers import DilatedDownsample, LayerNorm2d


def matrix(layer: Any) -> tuple[Tensor, Tensor]:
    """(out, in) weight and (out,) bias of a pointwise layer, ``nn.Linear`` or 1x1 convolution."""
    return layer.weight.detach().double().flatten(1), layer.bias.detach().double()


def after_affine(norm: LayerNorm2d, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (out, in, …) and bias of the layer after ``norm``, ``norm``'s affine folded in."""
    flat = weight.flatten(2) if weight.ndim > 2 else weight[..., None]
    if norm.bias is not None:
        bias = bias + flat.sum(2) @ norm.bias.detach().double()
    if norm.weight is not None:
        flat = flat * norm.weight.detach().double()[:, None]
    return flat.reshape(weight.shape), bias


def without_affine(norm: LayerNorm2d) -> LayerNorm2d:
    """A norm of the same channels and eps that only normalises."""
    (channels,) = norm.normalized_shape
    return LayerNorm2d(channels, eps=norm.eps, elementwise_affine=False).train(norm.training)


def fold_downsampling(network: ConvNeXt) -> None:
    """Fold the norms between stages into the 2x2 convolutions after them, in place.

    The stem's norm feeds convolutions with padding and shortcuts, and a dilated layer pads what
    its norm gives: the bias would be lacking at the border. They stay.
    """
    layers: list[Any] = list(network.downsample_layers)[1:]
    for layer in layers:
        norm, conv = layer
        if not isinstance(norm, LayerNorm2d) or isinstance(conv, DilatedDownsample):
            continue
        weight, bias = conv.weight.detach().double(), conv.bias.detach().double()
        weight, bias = after_affine(norm, weight, bias)
        conv.weight, conv.bias = frozen(weight, conv.weight), frozen(bias, conv.bias)
        layer[0] = without_affine(norm)


def frozen(value: Tensor, like: Tensor) -> nn.Parameter:
    """A parameter without gradient, of the type and on the device of ``like``."""
    return nn.Parameter(value.detach().to(like.device, like.dtype), requires_grad=False)
