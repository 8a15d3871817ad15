"""Which samples drop path drops, beside mmcv's rule, which mmpretrain's ConvNeXt uses."""

from __future__ import annotations

import pytest
import torch

from mmconvnext.backbones.layers import add_dropping, add_or_zero


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rate", [0.05, 0.4, 0.9])
def test_a_seed_drops_the_samples_that_mmcv_drops(rate: float, dtype: torch.dtype) -> None:
    drop = pytest.importorskip("mmcv.cnn.bricks.drop")
    x = torch.ones(64, 1, 1, 1, dtype=dtype)
    torch.manual_seed(0)
    expected = x + drop.drop_path(x, rate, training=True)
    assert 0 < (expected == 1).sum() < len(x)
    torch.manual_seed(0)
    torch.testing.assert_close(add_dropping(x, lambda part, f: f * part, rate, list), expected)
    torch.manual_seed(0)
    torch.testing.assert_close(add_or_zero(x, lambda part, f: f * part, rate), expected)
