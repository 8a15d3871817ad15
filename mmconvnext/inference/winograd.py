"""3x3 convolutions of prediction with a quarter of the multiplications: Winograd's minimal
filtering F(4x4, 3x3) (Lavin and Gray, arXiv:1509.09308).

Each tile of 6x6 positions is taken to 36 points, at which the convolution is a product of matrices,
and back to the 4x4 positions inside. The transforms are fixed matrices of few rows. RoIs of 7x7 are
one tile each, whose transforms hold those of 4x4, 4x3, 3x4 and 3x3 positions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmconvnext.backbones.recompute import on_onednn
from mmconvnext.backbones.torch_state import is_compiling
from mmconvnext.inference.winograd_transforms import IN, OUT, of_tiles, of_whole_maps

# Measured (AMD EPYC, 2 cores): 256 channels of 100x152 and 50x76 in 0.68 of the time, of 25x38 no
# faster, 512 channels of 64x64 slower; RoIs of 7x7 in 0.8 of the time.
_CHANNELS = range(128, 257)
_FEWEST = 200  # tiles of a picture
_TILES = 512  # at a time
_LARGEST_ROI = 8  # height and width of a map that is transformed whole
_ROIS = 96  # at a time; fewer in all leave too little work for each point


class _Kernels(NamedTuple):
    """A weight at the points of a transform, and what it was computed from."""

    values: Tensor  # (points, I, O)
    of_kernel: Tensor
    weight: Tensor  # while it is held, no other tensor gets its address
    version: int

    def are_of(self, of_kernel: Tensor, weight: Tensor) -> bool:
        return (
            self.of_kernel is of_kernel
            and self.weight.data_ptr() == weight.data_ptr()
            and self.version == weight._version
        )


class WinogradConv2d(nn.Conv2d):
    """A 3x3 convolution, faster on CPUs in single precision without gradients.

    There its outputs differ from a plain convolution's by about 2e-6 of the largest. Everywhere
    else it is the plain one. Its state is weight and bias. From the first fast call on it holds the
    weight at the 36 points as well, which is 4 times the weight's memory; they are computed anew
    after the weight was loaded, moved or written to, but for what is written through ``.data``.
    """

    _kernels: _Kernels | None = None

    @classmethod
    def take_over(cls, conv: nn.Module) -> bool:
        """Turn ``conv`` into one of this class, if it is a plain 3x3 convolution wide enough."""
        plain = type(conv).__module__ in ("torch.nn.modules.conv", "mmcv.cnn.bricks.wrappers")
        if (
            not plain
            or not isinstance(conv, nn.Conv2d)
            or conv.kernel_size != (3, 3)
            or conv.padding not in (1, (1, 1))
            or conv.padding_mode != "zeros"
            or any(option not in (1, (1, 1)) for option in (conv.stride, conv.dilation))
            or conv.groups != 1
            or not {conv.in_channels, conv.out_channels} <= set(_CHANNELS)
        ):
            return False
        conv.__class__ = cls
        return True

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, O, H, W), channels last."""
        plain = torch.is_grad_enabled() or is_compiling() or torch.jit.is_tracing()
        if plain or x.ndim != 4 or not on_onednn(x, self.weight):
            return super().forward(x)
        samples, _, height, width = x.shape
        if max(height, width) <= _LARGEST_ROI and samples >= _ROIS:
            kernels = self._at_points(of_whole_maps(height, width).of_kernel)
            return _convolve_rois(x, kernels, self.bias)
        if -(-height // OUT) * -(-width // OUT) < _FEWEST:
            return super().forward(x)
        return _convolve(x, self._at_points(of_tiles()[1]), self.bias)

    def _at_points(self, of_kernel: Tensor) -> Tensor:
        """The weight, (O, I, 3, 3), as (points, I, O)."""
        held, weight = self._kernels, self.weight
        if weight.is_inference():  # writing to such a tensor leaves no trace
            return _at_points(of_kernel, weight)
        if held is None or not held.are_of(of_kernel, weight):
            values = _at_points(of_kernel, weight)
            held = _Kernels(values, of_kernel, weight.detach(), weight._version)
            self._kernels = held
        return held.values

    def __getstate__(self) -> dict[str, Any]:
        """As torch's: a copy, and a pickled model, hold the weight alone."""
        return {name: value for name, value in self.__dict__.items() if name != "_kernels"}


def _at_points(of_kernel: Tensor, weight: Tensor) -> Tensor:
    kernels = of_kernel @ weight.permute(2, 3, 1, 0).flatten(2).flatten(0, 1)
    return kernels.view(-1, weight.shape[1], len(weight))


def _convolve(x: Tensor, kernels: Tensor, bias: Tensor | None) -> Tensor:
    back, _, there = of_tiles()
    _, inputs, outputs = kernels.shape
    samples, _, height, width = x.shape
    rows, columns = -(-height // OUT), -(-width // OUT)
    right, below = columns * OUT + 1 - width, rows * OUT + 1 - height
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, right, 1, below))
    tiles = padded.unfold(1, IN, OUT).unfold(2, IN, OUT).permute(4, 5, 0, 1, 2, 3)
    out = x.new_empty(samples, rows, OUT, columns, OUT, outputs)
    some_samples, some_rows = max(1, _TILES // (rows * columns)), max(1, _TILES // columns)
    for n in range(0, samples, some_samples):
        for row in range(0, rows, some_rows):
            part = tiles[:, :, n : n + some_samples, row : row + some_rows]
            points = (there @ part.reshape(IN**2, -1)).view(IN**2, -1, inputs)
            products = torch.bmm(points, kernels)
            found = (back @ products.flatten(1)).view(-1, outputs)
            if bias is not None:
                found += bias
            found = found.view(OUT, OUT, *part.shape[2:5], -1).permute(2, 3, 0, 4, 1, 5)
            out[n : n + some_samples, row : row + some_rows] = found
    out = out.view(samples, rows * OUT, columns * OUT, -1)[:, :height, :width]
    return out.permute(0, 3, 1, 2)


def _convolve_rois(x: Tensor, kernels: Tensor, bias: Tensor | None) -> Tensor:
    """Of many small maps. What comes out lies in memory as (H, W, N, C), which is what the next
    such convolution works on."""
    samples, channels, height, width = x.shape
    transforms = of_whole_maps(height, width)
    groups, outputs = kernels.split(transforms.points), kernels.shape[2]
    positions = x.permute(2, 3, 0, 1).flatten(0, 1)  # (HW, N, C)
    out = x.new_empty(height * width, samples, outputs)
    for n in range(0, samples, _ROIS):
        part = positions[:, n : n + _ROIS].reshape(height * width, -1)
        values = transforms.there @ part
        count = part.shape[1] // channels
        products = x.new_empty(len(values), count * outputs)
        rows = zip(values.split(transforms.rows), products.split(transforms.rows), strict=True)
        for (before, after), kernel in zip(rows, groups, strict=True):
            shape = len(kernel), len(before) // len(kernel) * count
            torch.bmm(before.view(*shape, -1), kernel, out=after.view(*shape, -1))
        found = (transforms.back @ products).view(-1, count, outputs)
        out[:, n : n + _ROIS] = found if bias is None else found.add_(bias)
    return out.view(height, width, samples, -1).permute(2, 3, 0, 1)
