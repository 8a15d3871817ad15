"""The layers that ConvNeXt needs and torch lacks.

They take and give (N, C, H, W) in channels-last memory unless they say (N, H, W, C); between the
two, permuting is a view and no copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels at each position of (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x``; shape and memory layout stay."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GRN(nn.Module):
    """Global response normalisation of (N, H, W, C) (ConvNeXt V2 paper, section 3.2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        """``gamma * x * n + beta + x``; n: a channel's L2 norm over the mean of all channels'."""
        # In half precision the sum of squares over a detection-sized map would overflow.
        dtype = torch.promote_types(x.dtype, torch.float32)
        norm = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True, dtype=dtype)
        relative = norm / (norm.mean(dim=-1, keepdim=True) + 1e-6)
        return torch.addcmul(self.beta.to(x.dtype), x, (1 + self.gamma * relative).to(x.dtype))


class PointwiseConv2d(nn.Conv2d):
    """1x1 convolution of (N, H, W, C): ``nn.Linear`` with a convolution's weight shape."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map the last axis from ``in_channels`` to ``out_channels``."""
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class DilatedDownsample(nn.Conv2d):
    """The 2x2 convolution between two stages without its stride: same weight, same size out as in.

    Its taps lie ``dilation`` apart, where the strided network's neighbours are. It is padded at
    the lower right only, so that a position of the strided network sees what it sees there.
    """

    def __init__(self, in_channels: int, out_channels: int, dilation: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=2, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``x``; height and width stay."""
        pad = self.dilation[0]
        return super().forward(F.pad(x, (0, pad, 0, pad)))


Branch = Callable[[Tensor, float], Tensor]  # of samples, times a factor


def add_or_zero(x: Tensor, branch: Branch, rate: float) -> Tensor:
    """As :func:`add_dropping`, but all samples are computed, and dropped ones multiplied by zero:
    for compiled networks, and for norms that take their statistics over all samples."""
    kept = _draw(x, rate).to(x.device, x.dtype, non_blocking=True)  # nobody waits for a GPU
    return x + branch(x, 1 / (1 - rate)) * kept[:, None, None, None]


def add_dropping(
    x: Tensor, branch: Branch, rate: float, parameters: Callable[[], Iterable[Tensor]]
) -> Tensor:
    """``x + branch(x, 1 / (1 - rate))`` for the samples that keep their branch, others as they are.

    Stochastic depth. Dropped samples cost nothing; where none is kept, the branch's parameters
    still get gradients, of zero: data parallel training waits for each.

    Args:
        x: (N, C, H, W).
        branch: a function of samples and the factor of what it gives; it knows each sample alone.
        rate: probability to drop a sample's branch.
        parameters: gives the branch's.
    """
    factor = 1 / (1 - rate)
    kept: list[bool] = _draw(x, rate).tolist()
    if all(kept):
        return x + branch(x, factor)
    if not any(kept):
        out: Tensor = _WithoutBranch.apply(x, *parameters())
        return out
    runs = [(keep, len(list(run))) for keep, run in groupby(kept)]
    parts = x.split([length for _, length in runs])
    inside = [part for part, (keep, _) in zip(parts, runs, strict=True) if keep]
    outs = iter(branch(_joined(inside), factor).split([part.shape[0] for part in inside]))
    return torch.cat(
        [part + next(outs) if keep else part for part, (keep, _) in zip(parts, runs, strict=True)]
    )


class _WithoutBranch(torch.autograd.Function):
    """``x``, with gradients of zero for the parameters of a branch that nobody needs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(*parameters)
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        needed = zip(ctx.saved_tensors, ctx.needs_input_grad[1:], strict=True)
        return grad, *(torch.zeros_like(p) if needs else None for p, needs in needed)


def _draw(x: Tensor, rate: float) -> Tensor:
    """Which samples are kept: those whose number of one ``torch.rand(N)`` reaches 1 together with
    ``1 - rate``, the authors' and mmcv's rule: a seed drops the same samples here and there. On the
    CPU: waiting for a GPU's numbers would hold up everything."""
    precision = torch.promote_types(x.dtype, torch.float32)
    return 1 - rate + torch.rand(len(x), dtype=precision) >= 1


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def build_norm(cfg: Mapping[str, Any], channels: int) -> nn.Module:
    """Norm of (N, C, H, W): ``LN2d`` or ``LN`` (LayerNorm2d), or whatever norm mmcv registers.

    Raises:
        ValueError: there is no such norm, or its arguments are wrong.
    """
    try:
        options = dict(cfg)
        if options["type"] in ("LN2d", "LN"):
            del options["type"]
            trainable = options.pop("requires_grad", True)
            return LayerNorm2d(channels, **options).requires_grad_(trainable)
        from mmcv.cnn import build_norm_layer  # here, because only these norms need mmcv

        return build_norm_layer(options, channels)[1]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"norm_cfg: expected type LN2d, LN or one of mmcv's, and its arguments, found {cfg!r}"
        ) from error


def build_act(cfg: Mapping[str, Any]) -> nn.Module:
    """Activation: ``GELU``, or whatever activation mmcv registers.

    Raises:
        ValueError: there is no such activation, or its arguments are wrong.
    """
    if cfg == {"type": "GELU"}:
        return nn.GELU()
    from mmcv.cnn import build_activation_layer  # here, because only these need mmcv

    try:
        return build_activation_layer(dict(cfg))
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"act_cfg: expected type GELU or one of mmcv's, and its arguments, found {cfg!r}"
        ) from error
