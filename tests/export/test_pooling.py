"""Means over cells, against torch's adaptive pooling."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmconvnext.export.pooling import CellMeans, replace_adaptive_pools


@pytest.mark.parametrize("size", [(7, 7), (16, 11), (5, 32), (3, 2)])
@pytest.mark.parametrize("cells", [1, 2, 3, 6, (2, 5), (None, 3), (4, None)])
def test_the_means_are_torchs(size, cells):
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    pool = nn.AdaptiveAvgPool2d(cells)
    means = CellMeans(cells if isinstance(cells, tuple) else (cells, cells))
    torch.testing.assert_close(means(x), pool(x))


def test_all_pools_of_a_model_are_replaced():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.ReLU()))
    x = torch.randn(1, 3, 9, 13)
    expected = model(x)
    replace_adaptive_pools(model)
    assert isinstance(model[1][0], CellMeans)
    torch.testing.assert_close(model(x), expected)
