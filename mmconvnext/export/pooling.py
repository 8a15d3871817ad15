"""Average pooling to a fixed number of cells, of maps whose size is known only when they come.

ONNX has no operator for it. Averaging over cells is linear and separable: one matrix an axis, made
of the map's size by comparing positions with the cells' borders.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CellMeans(nn.Module):
    """``nn.AdaptiveAvgPool2d`` as two products of matrices.

    Args:
        cells: rows and columns of what comes out; None leaves an axis as it is.
    """

    def __init__(self, cells: tuple[int | None, int | None]) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, rows, columns)."""
        rows, columns = self.cells
        if rows is not None:
            x = _means(x.shape[2], rows, x) @ x
        if columns is not None:
            x = x @ _means(x.shape[3], columns, x).T
        return x


def replace_adaptive_pools(model: nn.Module) -> None:
    """Put a :class:`CellMeans` in place of each ``nn.AdaptiveAvgPool2d`` of ``model``."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.AdaptiveAvgPool2d:
                size = child.output_size
                setattr(module, name, CellMeans(size if isinstance(size, tuple) else (size, size)))


def _means(length: int, cells: int, like: Tensor) -> Tensor:
    """(cells, length): what each position gives to each cell; cells overlap as torch's do."""
    number = torch.arange(cells, device=like.device)
    start, end = number * length // cells, ((number + 1) * length + cells - 1) // cells
    position = torch.arange(length, device=like.device)
    inside = (position >= start[:, None]) & (position < end[:, None])
    return inside.to(like.dtype) / (end - start)[:, None].to(like.dtype)
