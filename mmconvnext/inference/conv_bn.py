"""BatchNorm folded into the convolution before it."""

from __future__ import annotations

import sys
from collections import Counter

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

_ORDERS = (("conv", "norm", "act"), ("act", "conv", "norm"))  # in which the norm follows the conv


def fuse_conv_bn(model: nn.Module) -> int:
    """Fold the BatchNorms of mmcv's ``ConvModule``s in ``model``, in place, for evaluation.

    mmcv's own ``fuse_conv_bn`` goes by the order in which children are registered, not by the one
    in which they run, folds a convolution that several norms share once for each, and fails on a
    norm without affine.

    Left alone: convolutions and norms that are used in several places or have hooks (spectral norm
    is one), deformable convolutions, whose weights torch's function cannot know, transposed ones,
    and norms that use the statistics of the batch.

    Returns:
        How many were folded.
    """
    # Nobody can have such a module without having imported it.
    conv_module = getattr(sys.modules.get("mmcv.cnn.bricks.conv_module"), "ConvModule", None)
    if conv_module is None:
        return 0
    uses = _uses(model)
    count = 0
    for module in list(model.modules()):
        if (
            not isinstance(module, conv_module)
            or type(module).forward is not conv_module.forward
            or not module.with_norm
            or not _foldable(module.conv, module.norm, module.order)
        ):
            continue
        conv, norm = module.conv, module.norm
        parts = [conv, norm, *conv.parameters(), *norm.parameters()]
        if any(uses[id(part)] > 1 for part in parts):
            continue
        # With the norm off, ConvModule runs its convolution and then its activation.
        module.conv = fuse_conv_bn_eval(conv, norm)
        delattr(module, module.norm_name)
        module.with_norm, module.norm_name = False, None
        count += 1
    return count


def _uses(model: nn.Module) -> Counter[int]:
    """In how many modules each module and each parameter is, by its id."""
    found: Counter[int] = Counter()
    for module in model.modules():
        found.update(id(child) for child in module._modules.values())
        found.update(id(parameter) for parameter in module._parameters.values())
    return found


def _foldable(conv: nn.Module, norm: nn.Module, order: tuple[str, ...]) -> bool:
    hooks = (conv._forward_pre_hooks, conv._forward_hooks, norm._forward_pre_hooks)
    return (
        isinstance(conv, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
        # Others, such as those that standardise their weights, compute something else.
        and type(conv).__module__ in ("torch.nn.modules.conv", "mmcv.cnn.bricks.wrappers")
        and isinstance(norm, _BatchNorm)  # SyncBatchNorm is one
        and norm.running_mean is not None
        and order in _ORDERS
        and not any((*hooks, norm._forward_hooks))
    )
