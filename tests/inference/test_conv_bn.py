from __future__ import annotations

import pytest
import torch
from mmcv.cnn import ConvModule
from sample_networks import shaken
from torch import nn

from mmconvnext.inference.conv_bn import fuse_conv_bn

BN = {"type": "BN"}


@pytest.mark.parametrize(
    "options",
    [
        {"norm_cfg": BN},
        {"norm_cfg": {"type": "SyncBN"}},
        {"norm_cfg": {"type": "BN", "affine": False}},
        {"norm_cfg": {"type": "BN", "eps": 0.1}, "bias": True},
        {"norm_cfg": BN, "act_cfg": None, "groups": 2, "stride": 2},
        {"norm_cfg": BN, "order": ("act", "conv", "norm")},
        {"norm_cfg": BN, "padding_mode": "reflect"},
    ],
)
def test_folds_norms_behind_convolutions(options):
    module = shaken(ConvModule(4, 6, 3, padding=1, **options))
    x = torch.randn(2, 4, 9, 7)
    with torch.no_grad():
        expected = module(x)
        assert fuse_conv_bn(module) == 1
        torch.testing.assert_close(module(x), expected, rtol=1e-5, atol=1e-5)
    assert not any(isinstance(child, nn.modules.batchnorm._BatchNorm) for child in module.modules())
    assert module.norm is None


@pytest.mark.parametrize(
    "options",
    [
        {"norm_cfg": None},
        {"norm_cfg": {"type": "GN", "num_groups": 2}},
        {"norm_cfg": BN, "order": ("norm", "conv", "act")},
        {"norm_cfg": BN, "order": ("conv", "act", "norm")},
        {"norm_cfg": BN, "with_spectral_norm": True},
        {"norm_cfg": {"type": "BN", "track_running_stats": False}},
        {"norm_cfg": BN, "conv_cfg": {"type": "ConvAWS"}},
        {"norm_cfg": BN, "conv_cfg": {"type": "deconv"}},
    ],
)
def test_leaves_others_alone(options):
    module = ConvModule(4, 4, 3, **options).eval()
    before = list(module.modules())
    assert fuse_conv_bn(module) == 0
    assert list(module.modules()) == before


def test_leaves_shared_convolutions_alone():
    """SepBN heads have one convolution and a norm for each level."""
    first, second, third = (ConvModule(4, 4, 1, norm_cfg=BN) for _ in range(3))
    second.conv = first.conv
    model = shaken(nn.ModuleList([first, second, third]))
    x = torch.randn(1, 4, 5, 5)
    with torch.no_grad():
        expected = [module(x) for module in model]
        assert fuse_conv_bn(model) == 1
        for module, value in zip(model, expected, strict=True):
            torch.testing.assert_close(module(x), value)
    assert second.conv is first.conv and first.with_norm and not third.with_norm


def test_a_module_used_twice_is_folded_once():
    module = ConvModule(4, 4, 1, norm_cfg=BN)
    model = shaken(nn.Sequential(module, module))
    x = torch.randn(1, 4, 5, 5)
    with torch.no_grad():
        expected = model(x)
        assert fuse_conv_bn(model) == 1
        torch.testing.assert_close(model(x), expected)
