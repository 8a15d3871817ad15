"""A ConvNeXt block: the paper's layers (``_by_layers``), and the ways to train them with less time
and memory (``recompute.py``, ``mlp.py``), which give the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmconvnext.backbones.archs import require
from mmconvnext.backbones.depthwise import DepthwiseConv2d
from mmconvnext.backbones.layers import (
    GRN,
    PointwiseConv2d,
    add_dropping,
    add_or_zero,
    build_act,
    build_norm,
)
from mmconvnext.backbones.mlp import chunked_mlp, chunks_pay
from mmconvnext.backbones.recompute import Linear, linear_of, parameters, trains_plainly
from mmconvnext.backbones.torch_state import is_compiling


class Block(nn.Module):
    """``x + drop_path(gamma * pwconv2(act(pwconv1(norm(dwconv(x))))))`` (V1 paper, figure 4).

    V2 has GRN after the activation and no layer scale ``gamma`` (V2 paper, figure 5).
    """

    def __init__(
        self,
        channels: int,
        drop_path_rate: float,
        *,
        dilation: int,
        norm_cfg: Mapping[str, Any],
        act_cfg: Mapping[str, Any],
        linear_pw_conv: bool,
        use_grn: bool,
        layer_scale: float,
        recompute: str | None,
    ) -> None:
        super().__init__()
        pointwise = nn.Linear if linear_pw_conv else PointwiseConv2d
        self.dwconv = DepthwiseConv2d(channels, kernel_size=7, dilation=dilation)
        self.norm = build_norm(norm_cfg, channels)
        self.pwconv1 = pointwise(channels, 4 * channels)
        self.act = build_act(act_cfg)
        self.grn = GRN(4 * channels) if use_grn else None
        self.pwconv2 = pointwise(4 * channels, channels)
        self.gamma = nn.Parameter(torch.full((channels,), layer_scale)) if layer_scale > 0 else None
        self.drop_path_rate = drop_path_rate
        self.recompute = recompute
        self.keeps_statistics = any(True for _ in self.norm.buffers())  # BN's, over all samples
        require(
            recompute is None or not self.keeps_statistics,
            "norm_cfg",
            "a norm without running statistics, which recomputing would update twice",
            dict(norm_cfg),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        if self.training and self.drop_path_rate > 0:
            if self.keeps_statistics or is_compiling():
                return add_or_zero(x, self.branch, self.drop_path_rate)
            return add_dropping(x, self.branch, self.drop_path_rate, self.parameters)
        return x + self.branch(x)

    def branch(self, x: Tensor, factor: float = 1.0) -> Tensor:
        """All of the block but the shortcut, times ``factor``."""
        if not trains_plainly(self.pwconv1, self.pwconv2):
            if self.recompute is not None and torch.is_grad_enabled():
                return checkpoint(self._by_layers, x, factor, use_reentrant=False)
            return self._by_layers(x, factor)
        last = Linear(self.pwconv2.weight.flatten(1), self.pwconv2.bias, self.gamma, factor)
        before = (self.norm, self.pwconv1, self.act, self.grn)
        if self.recompute == "block":
            inside = parameters(self.dwconv, *before)
            out = linear_of(lambda x: self._hidden(self.dwconv(x)), inside, x, last)
        elif self.grn is None and chunks_pay(x, self.norm, self.act):
            mlp = (self.norm, self._first(), self.act, last)
            out = chunked_mlp(self.dwconv(x), *mlp, keep=self.recompute != "mlp")
        elif self.recompute == "mlp":
            out = linear_of(self._hidden, parameters(*before), self.dwconv(x), last)
        elif self.recompute == "activation":
            x = linear_of(self._normed, parameters(self.norm), self.dwconv(x), self._first())
            out = linear_of(self._activated, parameters(self.act, self.grn), x, last)
        else:
            out = linear_of(None, (), self._hidden(self.dwconv(x)), last)
        return out.permute(0, 3, 1, 2)

    def _by_layers(self, x: Tensor, factor: float) -> Tensor:
        """The same in the paper's words."""
        x = self._normed(self.dwconv(x))
        x = self.pwconv2(self._activated(self.pwconv1(x)))
        if self.gamma is not None:
            x = self.gamma * x
        return (x if factor == 1 else x * factor).permute(0, 3, 1, 2)

    def _normed(self, x: Tensor) -> Tensor:
        return self.norm(x).permute(0, 2, 3, 1)  # (N, C, H, W) -> (N, H, W, C)

    def _first(self) -> Linear:
        return Linear(self.pwconv1.weight.flatten(1), self.pwconv1.bias)

    def _activated(self, x: Tensor) -> Tensor:
        x = self.act(x)
        return x if self.grn is None else self.grn(x)

    def _hidden(self, x: Tensor) -> Tensor:
        return self._activated(linear_of(None, (), self._normed(x), self._first()))
