"""ConvNeXt V1 (arXiv:2201.03545) and V2 (arXiv:2301.00808) as a backbone for dense prediction.

Parameters have the authors' names, so that their files load as they are; arguments are mmpretrain's
and a few more. Tensors are (N, C, H, W), inside with channels last in memory all the way: the
pointwise layers and the norms, which work on (N, H, W, C), get there by a view.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmconvnext.backbones.archs import (
    drop_path_rates,
    layer_scale,
    require,
    resolve_arch,
    stage_dilations,
    stage_indices,
)
from mmconvnext.backbones.block import Block
from mmconvnext.backbones.layers import DilatedDownsample, build_norm
from mmconvnext.backbones.memory_budget import resolve_recompute
from mmconvnext.backbones.pretrained import PretrainedBackbone
from mmconvnext.backbones.torch_state import trains_eagerly
from mmconvnext.checkpoints.translating import translate
from mmconvnext.registry import MODELS, register_everywhere

NORM_CFG = {"type": "LN2d", "eps": 1e-6}
ACT_CFG = {"type": "GELU"}
# The authors' initialisation; norms and layer scale are built with their initial values.
INIT_CFG = {"type": "TruncNormal", "layer": ["Conv2d", "Linear"], "std": 0.02, "bias": 0.0}


@register_everywhere(MODELS)
class ConvNeXt(PretrainedBackbone):
    """ConvNeXt V1 and V2, giving the feature map of each stage in ``out_indices``.

    Args:
        arch: atto, femto, pico, nano, tiny, small, base, large, xlarge, huge, or
            ``dict(depths=…, channels=…)`` with one number for each stage.
        in_channels: channels of the input.
        stem_patch_size: kernel size and stride of the stem.
        norm_cfg: ``LN2d`` (LayerNorm over the channels), or a norm of mmcv.
        act_cfg: ``GELU``, or an activation of mmcv.
        linear_pw_conv: pointwise layers as ``nn.Linear``, like the authors', not 1x1 convolutions.
        use_grn: global response normalisation: V2.
        drop_path_rate: stochastic depth of the last block; rises linearly from 0 at the first.
        layer_scale_init_value: 0 for no layer scale. Default: 1e-6, with ``use_grn`` 0.
        out_indices: stages to give out; negative ones count from the last. Always in stage order.
        frozen_stages: so many stages, the stem included, get no gradient and stay in eval mode.
        gap_before_final_norm: give out each map's mean, normalised, as (N, C).
        with_cp: mmpretrain's name for ``recompute='block'``.
        output_stride: 8, 16 or 32: further stages keep their size and have dilated convolutions,
            with the same weights. V1 computes the same at the positions of the undilated network;
            V2's GRN averages over all positions. Default: no dilation.
        recompute: what the blocks compute again in the backward pass instead of keeping it, to save
            memory: ``'activation'``, ``'mlp'``, ``'block'``, each more than the one before; see
            ``recompute.py``. Default: nothing. ``'auto'``: as little as ``memory_budget`` allows,
            for each stage; see ``memory_budget.py``. Compiled networks keep what was picked before
            compiling, else ``'block'``.
        memory_budget: with ``recompute='auto'``, GiB that this network may keep for its backward
            pass. Default: half of what is free when training starts.
        init_cfg: mmengine's. Default: the authors' truncated normal. ``dict(type='Pretrained',
            checkpoint=…)`` takes files of any layout in ``checkpoints/formats.py``; see
            ``load_pretrained_backbone`` for its options prefix, ema and stem.

    Raises:
        ValueError: an argument is out of range.
    """

    takes_any_layout = True  # by which ``checkpoints`` knows it

    def __init__(
        self,
        arch: str | Mapping[str, Sequence[int]] = "tiny",
        in_channels: int = 3,
        stem_patch_size: int = 4,
        norm_cfg: Mapping[str, Any] = NORM_CFG,
        act_cfg: Mapping[str, Any] = ACT_CFG,
        linear_pw_conv: bool = True,
        use_grn: bool = False,
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float | None = None,
        out_indices: int | Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = 0,
        gap_before_final_norm: bool = False,
        with_cp: bool = False,
        output_stride: int | None = None,
        recompute: str | None = None,
        memory_budget: float | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=INIT_CFG if init_cfg is None else init_cfg)
        self.depths, self.channels = resolve_arch(arch)
        self.num_stages = len(self.depths)
        self.out_indices = stage_indices(out_indices, self.num_stages)
        self.frozen_stages = frozen_stages
        self.gap_before_final_norm = gap_before_final_norm
        require(in_channels >= 1, "in_channels", "at least 1", in_channels)
        require(stem_patch_size >= 1, "stem_patch_size", "at least 1", stem_patch_size)
        require(
            0 <= frozen_stages <= self.num_stages,
            "frozen_stages",
            f"0 (none) to {self.num_stages} (all stages)",
            frozen_stages,
        )
        recompute, self.memory_budget = resolve_recompute(recompute, with_cp, memory_budget)
        self.min_size = stem_patch_size * 2 ** (self.num_stages - 1)
        dilations = stage_dilations(output_stride, stem_patch_size, self.num_stages)
        rates = iter(drop_path_rates(drop_path_rate, sum(self.depths)))
        options: dict[str, Any] = {
            "norm_cfg": norm_cfg,
            "act_cfg": act_cfg,
            "linear_pw_conv": linear_pw_conv,
            "use_grn": use_grn,
            "layer_scale": layer_scale(layer_scale_init_value, use_grn),
            "recompute": recompute,
        }

        stem = nn.Conv2d(in_channels, self.channels[0], stem_patch_size, stem_patch_size)
        self.downsample_layers = nn.ModuleList(
            [nn.Sequential(stem, build_norm(norm_cfg, self.channels[0]))]
        )
        for i in range(1, self.num_stages):
            width, channels = self.channels[i - 1 : i + 1]
            if dilations[i] == dilations[i - 1]:
                conv = nn.Conv2d(width, channels, kernel_size=2, stride=2)
            else:
                conv = DilatedDownsample(width, channels, dilations[i - 1])
            self.downsample_layers.append(nn.Sequential(build_norm(norm_cfg, width), conv))
        self.stages = nn.ModuleList()
        for i, channels in enumerate(self.channels):
            blocks = [
                Block(channels, next(rates), dilation=dilations[i], **options)
                for _ in range(self.depths[i])
            ]
            self.stages.append(nn.Sequential(*blocks))
        for i in self.out_indices:
            self.add_module(f"norm{i}", build_norm(norm_cfg, self.channels[i]))
        self._freeze_stages()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, ``in_channels``, H, W) to (N, C, H // stride, W // stride) for each output stage.

        Raises:
            ValueError: H or W is smaller than the last stage's stride without dilation, 32.
        """
        height, width = x.shape[-2:]
        if min(height, width) < self.min_size:
            size = f"{self.min_size}x{self.min_size}"
            raise ValueError(f"input: expected at least {size} pixels, found {height}x{width}")
        if self.memory_budget is not None and trains_eagerly():
            self.memory_budget.fit(self, x)
        x = x.contiguous(memory_format=torch.channels_last)
        outs = []
        for i in range(self.out_indices[-1] + 1):
            x = self.stages[i](self.downsample_layers[i](x))
            if i in self.out_indices:
                outs.append(self.output(i, x))
        return tuple(outs)

    def output(self, stage: int, x: Tensor) -> Tensor:
        """What a stage in ``out_indices`` gives out of its last block's (N, C, H, W)."""
        norm = getattr(self, f"norm{stage}")
        if self.gap_before_final_norm:
            return norm(x.mean((2, 3), keepdim=True)).flatten(1)
        # CenterNet and DMNet take views that only plain memory allows.
        return norm(x).contiguous()

    def train(self, mode: bool = True) -> ConvNeXt:
        """Switch to training mode, all but the frozen stages."""
        super().train(mode)
        self._freeze_stages()
        return self

    def _freeze_stages(self) -> None:
        for i in range(self.frozen_stages):
            for module in (self.downsample_layers[i], self.stages[i]):
                module.eval().requires_grad_(False)

    def load_pretrained(self, checkpoint: str, **options: Any) -> None:
        """Load a file of any layout; see ``load_pretrained_backbone``."""
        from mmconvnext.checkpoints.loading import load_pretrained_backbone

        load_pretrained_backbone(self, checkpoint, **options)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """As torch's, but the weights may have any layout that this package knows."""
        translate(state_dict, prefix, self.state_dict())
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def get_layer_depth(self, param_name: str, prefix: str = "") -> tuple[int, int]:
        """Layer of a parameter for layer-wise learning-rate decay, and the number of layers.

        The authors' rule: stem 0; first and second stage 1 and 2; third stage by threes of blocks
        from 3 on; last stage like the third's last; the rest, and names without ``prefix``, after.
        A downsample layer goes with the stage that follows, but the first of them with the second.
        """
        last = 12 if max(self.depths[2:3], default=0) > 9 else 6
        kind, *indices = param_name.removeprefix(prefix).split(".")
        if not param_name.startswith(prefix) or kind not in ("downsample_layers", "stages"):
            return last + 1, last + 2
        stage = int(indices[0])
        if stage > 2:
            layer = last
        elif kind == "downsample_layers":
            layer = (0, 2, 3)[stage]
        else:
            layer = min(3 + int(indices[1]) // 3, last) if stage == 2 else stage + 1
        return layer, last + 2
