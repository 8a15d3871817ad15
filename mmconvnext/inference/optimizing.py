"""A trained model made faster for prediction."""

from __future__ import annotations

import copy
import sys
from typing import Any

import torch
from torch import Tensor, nn

from mmconvnext.backbones.block import Block
from mmconvnext.backbones.convnext import ConvNeXt
from mmconvnext.inference.block import FusedBlock
from mmconvnext.inference.conv_bn import fuse_conv_bn
from mmconvnext.inference.folding import fold_downsampling
from mmconvnext.inference.winograd import WinogradConv2d


class FusedConvNeXt(ConvNeXt):
    """A :class:`ConvNeXt` that can only predict; :func:`optimize_for_inference` makes it of one."""

    @torch.no_grad()
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """As the network's that it was made of, without gradients."""
        return super().forward(x)

    def train(self, mode: bool = True) -> FusedConvNeXt:
        """Stay in evaluation mode.

        Raises:
            RuntimeError: ``mode`` is True.
        """
        if mode:
            raise RuntimeError(
                "train(): expected a network as it was built, found one of optimize_for_inference, "
                "which can only predict; train the original model"
            )
        nn.Module.train(self, False)
        return self

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """As torch's: the layouts of other files are of networks that are not folded."""
        nn.Module._load_from_state_dict(self, state_dict, prefix, *args, **kwargs)


def optimize_for_inference(model: nn.Module, *, inplace: bool = False) -> nn.Module:
    """Make ``model`` (a ConvNeXt, or a detector or segmentor around one or more) predict faster.

    Layer scale and LayerNorm's affine are folded into the linear layers beside them, BatchNorm
    into mmcv's convolution modules; blocks compute with less memory, 3x3 convolutions on CPUs with
    fewer multiplications. What comes out differs from ``model``'s outputs in evaluation by
    rounding: less than 1e-4 where they are of the order of 1.

    mmseg's ``EncoderDecoder`` finds each pixel's class without an array of all classes at the
    picture's size. Its samples then have no ``seg_logits``; inside a TTA model, which averages
    them, it stays as it is.

    Args:
        model: with its weights loaded; stays as it was unless ``inplace``.
        inplace: change ``model`` itself, so that no second set of weights is held.

    Returns:
        The model in evaluation mode, its parameters without gradients. ``train()`` raises
        RuntimeError.

    Raises:
        ValueError: there is no ConvNeXt of this package in ``model``, or it was optimised before.
    """
    networks = [module for module in model.modules() if isinstance(module, ConvNeXt)]
    if not networks or any(isinstance(network, FusedConvNeXt) for network in networks):
        found = "one that was optimised before" if networks else f"none in {type(model).__name__}"
        raise ValueError(f"model: expected a mmconvnext.ConvNeXt in it, found {found}")
    model = (model if inplace else copy.deepcopy(model)).eval()
    for module in list(model.modules()):
        if type(module) is ConvNeXt:
            _fuse(module)
    fuse_conv_bn(model)
    for module in model.modules():
        WinogradConv2d.take_over(module)
    _predict_lean(model)
    return model.requires_grad_(False)


def _fuse(network: ConvNeXt) -> None:
    stages: list[Any] = list(network.stages)
    for stage in stages:
        for index, block in enumerate(stage):
            if type(block) is Block:
                stage[index] = FusedBlock(block).eval()
    fold_downsampling(network)
    network.__class__ = FusedConvNeXt


def _predict_lean(model: nn.Module) -> None:
    if "mmseg" in sys.modules:  # else it can be no segmentor
        from mmconvnext.inference.segmentor import LeanEncoderDecoder

        LeanEncoderDecoder.take_over(model)
