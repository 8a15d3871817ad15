"""Masked convolution against the convolution of the whole picture."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import mmconvnext  # noqa: F401  (provides mmcv._ext)

# isort: split
from mmcv.ops.masked_conv import MaskedConv2d, masked_conv2d


@pytest.mark.parametrize(("kernel", "padding"), [((3, 3), 1), ((1, 1), 0), ((3, 5), (1, 2))])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_equals_the_convolution_where_the_mask_is_set_and_zero_elsewhere(kernel, padding, share):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(1, 3, 6, 7), torch.randn(4, 3, *kernel), torch.randn(4)
    mask = (torch.rand(1, 6, 7) < share).float()
    wanted = F.conv2d(x, weight, bias, padding=padding) * mask
    torch.testing.assert_close(masked_conv2d(x, mask, weight, bias, padding), wanted)


@pytest.mark.parametrize("padding", [0, 2])
def test_padding_that_changes_the_size_counts_from_the_outputs_corner(padding):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(1, 2, 6, 7), torch.randn(4, 2, 3, 3), torch.randn(4)
    mask = torch.zeros(1, 6, 7)
    mask[0, 0, 1] = mask[0, 3, 4] = 1
    whole = F.conv2d(x, weight, bias, padding=padding)
    wanted = torch.zeros_like(whole)
    for row, column in ((0, 1), (3, 4)):
        wanted[..., row, column] = whole[..., row, column]
    torch.testing.assert_close(masked_conv2d(x, mask, weight, bias, padding), wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(1, 3, 6, 6), torch.randn(4, 3, 3, 3), torch.randn(4)
    mask = (torch.rand(1, 6, 6) < 0.5).float()
    found = masked_conv2d(x.to(dtype), mask, weight.to(dtype), bias.to(dtype), 1)
    assert found.dtype == dtype
    wanted = F.conv2d(x, weight, bias, padding=1) * mask
    torch.testing.assert_close(found.float(), wanted, rtol=0.05, atol=0.1)


def test_under_autocast_float32_features_give_a_float32_output():
    torch.manual_seed(0)
    layer, x = MaskedConv2d(3, 4, 3, padding=1), torch.randn(1, 3, 6, 6)
    mask = torch.ones(1, 6, 6)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = layer(x, mask)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, layer(x), rtol=0.05, atol=0.05)
