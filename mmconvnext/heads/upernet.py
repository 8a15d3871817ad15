"""UPerNet's head (arXiv:1807.10221) with its two fusions at the small sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmcv.cnn import ConvModule
from mmseg.models.decode_heads import UPerHead
from torch import Tensor, nn
from torch.nn import functional as F

from mmconvnext.heads.fusion import conv3x3_of_resized
from mmconvnext.registry import MODELS


@MODELS.register_module()
class FastUPerHead(UPerHead):
    """mmseg's ``UPerHead``: same arguments, parameters and numbers, less work and memory.

    Its two fusions, 3x3 convolutions of resized and concatenated maps, happen at the maps' own
    sizes (see ``heads/fusion.py``): that of the four pyramid levels and that of the pooled maps.
    Checkpoints of either head load into the other. A fusion that is no plain 3x3 convolution
    (another ``conv_cfg``, spectral norm, …) is left to mmseg's code.

    Attributes:
        fast_fusion: set to False to compute as mmseg's head does.
    """

    fast_fusion = True

    def psp_forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """The coarsest map with its means over 1x1, 2x2, … cells: (N, channels, h, w)."""
        if not self.fast_fusion or not _is_plain(self.bottleneck):
            return super().psp_forward(inputs)
        x = inputs[-1]
        return self._fuse(self.bottleneck, [x, *(pool(x) for pool in self.psp_modules)])

    def _forward_feature(self, inputs: Sequence[Tensor]) -> Tensor:
        """Maps of all stages to what the classifier sees: (N, channels, H, W) of the finest."""
        if not self.fast_fusion or not _is_plain(self.fpn_bottleneck):
            return super()._forward_feature(inputs)
        inputs = self._transform_inputs(inputs)
        maps = [conv(x) for conv, x in zip(self.lateral_convs, inputs, strict=False)]
        maps.append(self.psp_forward(inputs))
        for i in range(len(maps) - 1, 0, -1):
            maps[i - 1] = maps[i - 1] + F.interpolate(
                maps[i], maps[i - 1].shape[2:], mode="bilinear", align_corners=self.align_corners
            )
        for i, conv in enumerate(self.fpn_convs):
            maps[i] = conv(maps[i])
        return self._fuse(self.fpn_bottleneck, maps)

    def _fuse(self, module: ConvModule, maps: Sequence[Tensor]) -> Tensor:
        """``module`` on ``maps``, resized to the first one's size and concatenated."""
        height, width = maps[0].shape[2:]
        x: Any = conv3x3_of_resized(
            maps,
            module.conv.weight,
            (height, width),
            align_corners=self.align_corners,
            bias=module.conv.bias,
        )
        for layer in module.order[1:]:
            if layer == "norm" and module.with_norm:
                x = module.norm(x)
            elif layer == "act" and module.with_activation:
                x = module.activate(x)
        return x


def _is_plain(module: ConvModule) -> bool:
    """Whether ``module`` begins with an ordinary 3x3 convolution, and nothing is done to it."""
    conv = module.conv
    return (
        type(conv) is nn.Conv2d
        and "weight" in conv._parameters  # spectral norm and its like take it away
        and conv.kernel_size == (3, 3)
        and conv.padding == (1, 1)
        and conv.padding_mode == "zeros"
        and conv.stride == conv.dilation == (1, 1)
        and conv.groups == 1
        and module.order[0] == "conv"
        and not module.with_explicit_padding
        and getattr(module, "efficient_conv_bn_eval_forward", None) is None  # mmcv 2.1 has it
    )
