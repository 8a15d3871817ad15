"""RoadNet: the network at every stop of the paper's road from ResNet to ConvNeXt
(arXiv:2201.03545, section 2 and figure 2), as a backbone for dense prediction.

The first stop is torchvision's ResNet, the last this package's ConvNeXt; parameters have the
authors' names where ConvNeXt has them. Tensors are (N, C, H, W), in channels-last memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmconvnext.backbones.archs import drop_path_rates, require, stage_indices
from mmconvnext.backbones.layers import add_or_zero, build_norm
from mmconvnext.backbones.pretrained import PretrainedBackbone
from mmconvnext.backbones.road_stops import LAST, Design, Regime, design_of, resolve_regime
from mmconvnext.registry import MODELS, register_everywhere

BATCH_NORM = {"type": "BN"}
LAYER_NORM = {"type": "LN2d", "eps": 1e-6}
# ConvNeXt's at every stop, for equal terms; before a BatchNorm the scale of weights is free.
INIT_CFG = {"type": "TruncNormal", "layer": "Conv2d", "std": 0.02, "bias": 0.0}


@register_everywhere(MODELS)
class RoadNet(PretrainedBackbone):
    """The network at a stop of the road, giving the feature map of each stage in ``out_indices``.

    Args:
        step: the stop: resnet, stage_ratio, patchify_stem, depthwise, width, inverted_bottleneck,
            move_up_depthwise, kernel_5, kernel_7, kernel_9, kernel_11, gelu, fewer_activations,
            fewer_norms, layer_norm or separate_downsampling, which is ConvNeXt. Each has the
            changes of all before it, but 9x9 and 11x11 kernels were only tried.
        regime: ``resnet50`` (ends at ConvNeXt-T), ``resnet200`` (ends at ConvNeXt-B), or
            ``dict(depths=[of ResNet, from stage_ratio on], widths=[of ResNet, from stage_ratio
            on, from width on])``; a width is that of the first stage's 3x3 convolution.
        in_channels: channels of the input.
        norm_cfg: the norm up to ``fewer_norms``, of mmcv; ``SyncBN`` for few pictures a GPU.
        norm_eval: keep the BatchNorms in eval mode, as is usual for fine-tuned ResNets.
        drop_path_rate: stochastic depth of the last block; rises linearly from 0 at the first.
        layer_scale_init_value: 0 for no layer scale. The paper does not say where on the road it
            came in. Default: 1e-6 at the last stop, 0 before.
        out_indices: stages to give out; negative ones count from the last. Always in stage order.
        frozen_stages: so many stages, the stem included, get no gradient and stay in eval mode.
        init_cfg: mmengine's. Default: ConvNeXt's truncated normal. ``dict(type='Pretrained',
            checkpoint=…)`` takes this stop's own files, for ``resnet`` torchvision's and mmdet's
            ResNets too, and for the last stop any ConvNeXt's.

    ``channels`` are those of the stages' maps.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        step: str = LAST,
        regime: str | Mapping[str, Sequence[Any]] = "resnet50",
        in_channels: int = 3,
        norm_cfg: Mapping[str, Any] = BATCH_NORM,
        norm_eval: bool = False,
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float | None = None,
        out_indices: int | Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = 0,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=INIT_CFG if init_cfg is None else init_cfg)
        self.step, self.design = step, design_of(step)
        chosen = resolve_regime(regime)
        self.depths, self.channels = self.design.arch(chosen)
        self.out_indices = stage_indices(out_indices, len(self.depths))
        self.frozen_stages, self.norm_eval = frozen_stages, norm_eval
        require(in_channels >= 1, "in_channels", "at least 1", in_channels)
        require(
            0 <= frozen_stages <= len(self.depths),
            "frozen_stages",
            f"0 (none) to {len(self.depths)} (all stages)",
            frozen_stages,
        )
        scale = layer_scale_init_value
        if scale is None:
            scale = 1e-6 if step == LAST else 0.0
        require(scale >= 0, "layer_scale_init_value", "0 (none) or more", scale)
        whole = len(self.depths) - 1 if self.design.separate_downsampling else 0
        self.min_size = 4 * 2**whole if self.design.patchify_stem else 1
        norm = LAYER_NORM if self.design.layer_norm else dict(norm_cfg)

        self.downsample_layers = nn.ModuleList([_stem(self.design, in_channels, chosen, norm)])
        self.stages = nn.ModuleList()
        rates = iter(drop_path_rates(drop_path_rate, sum(self.depths)))
        width = chosen.widths[self.design.stage_ratio + self.design.width]
        for i, channels in enumerate(self.channels):
            if i > 0:
                self.downsample_layers.append(_downsample(self.design, width, channels, norm))
                width = channels if self.design.separate_downsampling else width
            stride = 2 if i > 0 and not self.design.separate_downsampling else 1
            blocks = []
            for _ in range(self.depths[i]):
                rate = next(rates)
                blocks.append(RoadBlock(self.design, width, channels, stride, norm, rate, scale))
                width, stride = channels, 1
            self.stages.append(nn.Sequential(*blocks))
        if self.design.separate_downsampling:
            for i in self.out_indices:
                self.add_module(f"norm{i}", build_norm(norm, self.channels[i]))
        self.train()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, ``in_channels``, H, W) to (N, C, H / stride, W / stride) for each output stage, of
        strides 4, 8, 16 and 32. ResNet's sizes are rounded up, ConvNeXt's down; in between a
        patchifying stem's are rounded down and later ones up.

        Raises:
            ValueError: H or W is too small for a map of one position.
        """
        height, width = x.shape[-2:]
        if min(height, width) < self.min_size:
            size = f"{self.min_size}x{self.min_size}"
            raise ValueError(f"input: expected at least {size} pixels, found {height}x{width}")
        x = x.contiguous(memory_format=torch.channels_last)
        outs = []
        for i in range(self.out_indices[-1] + 1):
            x = self.stages[i](self.downsample_layers[i](x))
            if i in self.out_indices:
                out = getattr(self, f"norm{i}")(x) if self.design.separate_downsampling else x
                outs.append(out.contiguous())
        return tuple(outs)

    def train(self, mode: bool = True) -> RoadNet:
        """Switch to training mode, all but the frozen stages and, with ``norm_eval``, the norms."""
        super().train(mode)
        for i in range(self.frozen_stages):
            for module in (self.downsample_layers[i], self.stages[i]):
                module.eval().requires_grad_(False)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def load_pretrained(self, checkpoint: str, **options: Any) -> None:
        """Load a file that fits this stop; see ``load_road_weights``."""
        from mmconvnext.checkpoints.road import load_road_weights

        load_road_weights(self, checkpoint, **options)


class RoadBlock(nn.Module):
    """A block of any stop: ``shortcut(x) + drop_path(gamma * branch(x))``, and up to ``gelu`` one
    more activation (paper, figures 3 and 4).

    The branch is a pointwise, a spatial and a pointwise layer; from ``move_up_depthwise`` on a
    spatial and two pointwise ones. The first block of a stage halves the map, until
    ``separate_downsampling``; its shortcut is a 1x1 convolution where it changes the map's shape.
    """

    def __init__(
        self,
        design: Design,
        in_channels: int,
        channels: int,
        stride: int,
        norm: Mapping[str, Any],
        drop_path_rate: float,
        layer_scale: float,
    ) -> None:
        super().__init__()
        layers = OrderedDict(_branch(design, in_channels, channels, stride, norm))
        self.order = tuple(layers)
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.shortcut = None
        if (in_channels, stride) != (channels, 1):
            conv = _conv(in_channels, channels, 1, stride, bias=design.fewer_norms)
            norms = [] if design.fewer_norms else [build_norm(norm, channels)]
            self.shortcut = nn.Sequential(conv, *norms)
        self.gamma = nn.Parameter(torch.full((channels,), layer_scale)) if layer_scale else None
        self.last_act = None if design.fewer_activations else _act(design)
        self.drop_path_rate = drop_path_rate

    def forward(self, x: Tensor) -> Tensor:
        """(N, ``in_channels``, H, W) to (N, ``channels``, H / stride, W / stride), rounded up."""
        shortcut = x if self.shortcut is None else self.shortcut(x)
        if self.training and self.drop_path_rate > 0:
            # All samples are computed: a BatchNorm takes its statistics over them.
            branch = self.branch(x)
            x = add_or_zero(shortcut, lambda _, factor: branch * factor, self.drop_path_rate)
        else:
            x = shortcut + self.branch(x)
        return x if self.last_act is None else self.last_act(x)

    def branch(self, x: Tensor) -> Tensor:
        """All of the block but the shortcut and what follows their sum."""
        for name in self.order:
            x = self._modules[name](x)  # type: ignore[misc]  # none of them is None
        return x if self.gamma is None else x * self.gamma[:, None, None]


def _branch(
    design: Design, in_channels: int, channels: int, stride: int, norm: Mapping[str, Any]
) -> Iterator[tuple[str, nn.Module]]:
    """The layers of a block's branch in their order, with their names."""
    inside = channels * 4 if design.inverted_bottleneck else channels // 4
    spatial = "dwconv" if design.depthwise else "conv"
    plan = [("pwconv1", in_channels, inside), (spatial, inside, inside)]
    if design.depthwise_first:
        plan = [(spatial, in_channels, in_channels), ("pwconv1", in_channels, inside)]
    plan.append(("pwconv2", inside, channels))
    for place, (name, width, out) in enumerate(plan, start=1):
        pointwise = name != spatial
        yield (
            name,
            _conv(
                width,
                out,
                1 if pointwise else design.kernel_size,
                1 if pointwise else stride,
                groups=1 if pointwise or not design.depthwise else out,
                bias=design.layer_norm or (design.fewer_norms and pointwise),
            ),
        )
        if not design.fewer_norms:
            yield f"norm{place}", build_norm(norm, out)
        elif not pointwise:
            yield "norm", build_norm(norm, out)
        if not design.fewer_activations and place < len(plan):
            yield f"act{place}", _act(design)
        elif design.fewer_activations and name == "pwconv1":
            yield "act", _act(design)


def _stem(design: Design, in_channels: int, regime: Regime, norm: Mapping[str, Any]) -> nn.Module:
    """From the picture to a quarter of its height and width."""
    channels = regime.widths[design.stage_ratio + design.width]
    bias = design.fewer_norms
    if not design.patchify_stem:
        conv = nn.Conv2d(in_channels, channels, 7, stride=2, padding=3, bias=bias)
        pool = nn.MaxPool2d(3, stride=2, padding=1)
        return nn.Sequential(conv, build_norm(norm, channels), _act(design), pool)
    layers: list[nn.Module] = [nn.Conv2d(in_channels, channels, 4, stride=4, bias=bias)]
    if not design.fewer_norms or design.separate_downsampling:
        layers.append(build_norm(norm, channels))
    if not design.fewer_activations:
        layers.append(_act(design))
    return nn.Sequential(*layers)


def _downsample(
    design: Design, in_channels: int, channels: int, norm: Mapping[str, Any]
) -> nn.Module:
    """What lies between two stages: nothing, as long as their first block halves the map."""
    if not design.separate_downsampling:
        return nn.Identity()
    conv = nn.Conv2d(in_channels, channels, kernel_size=2, stride=2)
    return nn.Sequential(build_norm(norm, in_channels), conv)


def _conv(
    in_channels: int, channels: int, kernel_size: int, stride: int, *, bias: bool, groups: int = 1
) -> nn.Conv2d:
    padding = kernel_size // 2
    return nn.Conv2d(in_channels, channels, kernel_size, stride, padding, groups=groups, bias=bias)


def _act(design: Design) -> nn.Module:
    return nn.GELU() if design.gelu else nn.ReLU(inplace=True)
