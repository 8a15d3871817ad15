"""A ConvNeXt block that only predicts: fewer passes over memory, and on CPUs less memory.

The hidden activations of the pointwise layers are four times as wide as the block. At detection
sizes they fit no cache, and asking the system for them anew in each block costs as much as filling
them. Positions do not know each other there: some thousands at a time give the same result.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmconvnext.backbones.block import Block
from mmconvnext.backbones.layers import LayerNorm2d
from mmconvnext.backbones.pointwise import linear
from mmconvnext.backbones.recompute import on_onednn
from mmconvnext.backbones.torch_state import is_compiling, is_exporting
from mmconvnext.inference.folding import after_affine, frozen, matrix, without_affine

_POSITIONS = 1024  # at a time; 682 of 384 channels took 1.1 of the time, 4096 of 96 1.3


class FusedBlock(nn.Module):
    """``x + project(act(expand(normalise(dwconv(x)))))``, everything linear folded in.

    Computes what ``block`` computes in evaluation, up to rounding. Its own weights have other
    names than the block's, so that a checkpoint of one cannot pass for the other's.

    Args:
        block: the trained one; it stays as it is, and shares what is not folded.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.dwconv, self.norm, self.act = block.dwconv, block.norm, block.act
        expand, expand_bias = matrix(block.pwconv1)
        project, project_bias = matrix(block.pwconv2)
        if isinstance(block.norm, LayerNorm2d):
            expand, expand_bias = after_affine(block.norm, expand, expand_bias)
            self.norm = without_affine(block.norm)
        self.grn_gamma = None
        if block.grn is not None:
            # GRN is beta + x * (1 + gamma * relative): beta goes through the last layer.
            project_bias = project_bias + project @ block.grn.beta.flatten().double()
            self.grn_gamma = frozen(block.grn.gamma, block.grn.gamma)
        if block.gamma is not None:
            scale = block.gamma.double()
            project, project_bias = scale[:, None] * project, scale * project_bias
        like = block.pwconv1.weight
        # (in, out) in memory: as fast as oneDNN's packed layout, 2 to 8 % faster than (out, in).
        expand, project = (m.t().contiguous().t() for m in (expand, project))
        self.expand = frozen(expand, like)
        self.expand_bias = frozen(expand_bias, like)
        self.project = frozen(project, like)
        self.project_bias = frozen(project_bias, like)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape; on a CPU without gradients."""
        rows = self.norm(self.dwconv(x)).permute(0, 2, 3, 1)  # (N, H, W, C)
        shortcut = x.permute(0, 2, 3, 1)
        by_parts = self._kernel(rows)
        if by_parts is None:
            out = shortcut + self._pointwise(rows)
        else:
            layers = (self.expand, self.expand_bias, self.project, self.project_bias)
            out = by_parts(rows, shortcut, *layers, self.act.approximate)
        return out.permute(0, 3, 1, 2)

    def _kernel(self, rows: Tensor) -> Any:
        """:func:`_by_parts`, or its operator, where it computes this; else None."""
        plain = self.grn_gamma is not None or type(self.act) is not nn.GELU
        if plain or not rows.is_cpu or is_exporting():
            return None
        if not is_compiling():
            return _by_parts
        return _COMPILED if on_onednn(rows, self.expand) else None

    def _pointwise(self, rows: Tensor) -> Tensor:
        if type(self.act) is nn.GELU:
            hidden = linear(rows, self.expand, self.expand_bias, gelu=self.act.approximate)
        else:
            hidden = self.act(linear(rows, self.expand, self.expand_bias))
        if self.grn_gamma is not None:
            hidden = hidden * self._grn_scale(hidden)
        return linear(hidden, self.project, self.project_bias)

    def _grn_scale(self, x: Tensor) -> Tensor:
        """The factor of each sample and channel in GRN without beta."""
        # In half precision the sum of squares over a detection-sized map would overflow.
        dtype = torch.promote_types(x.dtype, torch.float32)
        norm = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True, dtype=dtype)
        relative = norm / (norm.mean(dim=-1, keepdim=True) + 1e-6)
        return (1 + self.grn_gamma * relative).to(x.dtype)


def _by_parts(
    rows: Tensor,
    shortcut: Tensor,
    expand: Tensor,
    expand_bias: Tensor,
    project: Tensor,
    project_bias: Tensor,
    gelu: str,
) -> Tensor:
    """``shortcut + project(GELU(expand(rows)))`` of (N, H, W, C), some positions at a time."""
    channels = rows.shape[-1]
    parts = rows.reshape(-1, channels).split(_POSITIONS)
    shortcuts = shortcut.reshape(-1, channels).split(_POSITIONS)
    out = shortcut.new_empty(rows.shape)  # under autocast of another type than rows
    outs = out.view(-1, channels).split(_POSITIONS)
    for part, skip, into in zip(parts, shortcuts, outs, strict=True):
        hidden = linear(part, expand, expand_bias, gelu=gelu)
        torch.add(linear(hidden, project, project_bias), skip, out=into)
    return out


def _known_to_compiler() -> Any:
    """:func:`_by_parts` as an operator that torch.compile does not look into: of how many parts
    there are it would make a program for each size of picture."""
    if not hasattr(torch.library, "custom_op"):  # before PyTorch 2.4
        return None
    operator = torch.library.custom_op("mmconvnext::pointwise", _by_parts, mutates_args=())

    @operator.register_fake
    def _(rows: Tensor, shortcut: Tensor, *layers: Tensor | str) -> Tensor:
        return shortcut.new_empty(rows.shape)

    return operator


_COMPILED = _known_to_compiler()
